# SPDX-License-Identifier: Apache-2.0
"""Which words of `mlcl infer` are images, and which name the model."""

import pytest

from mlcl_plugin.commands import main, make_parser
from mlcl_plugin.commands.infer import divide

RECIPE = 'mlcl_efflite0_voc07'


@pytest.mark.parametrize(
    ('words', 'images', 'config', 'checkpoint'),
    [
        ('a.jpg', 1, None, None),
        ('a.jpg b.JPEG c.heic', 3, None, None),
        ('a.jpg photos/*', 2, None, None),
        ('photo', 1, None, None),
        (f'a.jpg {RECIPE}', 1, RECIPE, None),
        (f'a.jpg b.jpg {RECIPE}', 2, RECIPE, None),
        ('a.jpg my.py', 1, 'my.py', None),
        ('a.jpg my.py my.pth', 1, 'my.py', 'my.pth'),
        (f'a.jpg b {RECIPE} mlcl://{RECIPE}', 2, RECIPE, f'mlcl://{RECIPE}'),
        # names without a suffix
        ('a b c', 1, 'b', 'c'),
        ('a b csra-resnet101 latest', 2, 'csra-resnet101', 'latest'),
    ],
)
def test_divide(words, images, config, checkpoint):
    words = words.split()
    assert divide(words) == (words[:images], config, checkpoint)


def test_folders(tmp_path):
    folder = str(tmp_path)
    assert divide(['a.jpg', folder]) == (['a.jpg', folder], None, None)
    (tmp_path / 'my.py').mkdir()
    assert divide([f'{folder}/my.py']) == ([f'{folder}/my.py'], None, None)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('a.jpg my.pth', 'name its config before it: a.jpg CONFIG my.pth'),
        ('my.py my.pth', 'name images before my.py my.pth'),
        (RECIPE, f'{RECIPE} is a config: name images before it'),
        (
            'a.jpg --out a.Csv',
            '--out is written as JSON Lines or Parquet, got a.Csv: name it a.jsonl',
        ),
    ],
)
def test_what_is_missing_is_named(words, message, capsys):
    with pytest.raises(SystemExit) as error:
        make_parser('infer').read(words.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_recipe_without_weights(ends_with_line):
    with ends_with_line(
        r'^mlcl infer: No weights come with csra_resnet_digits: name a '
    ):
        main(['infer', 'a.jpg', 'csra_resnet_digits'])
