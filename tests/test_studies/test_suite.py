# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmpretrain.registry import DATASETS


@pytest.fixture
def module(load, settings):
    return load('suite')


@pytest.mark.parametrize(
    ('old', 'new', 'error', 'message'),
    [
        ("title = 'A title'", '', ValueError, r"lacks \['title'\]"),
        ("title = 'A title'", "titel = title = ''", ValueError, "'titel'"),
        ("start='first'", "start='frist'", ValueError, 'starts from frist'),
        ("until='step1'", "untl='step1'", ValueError, "'untl'"),
        ("start='first'", "reference='frist'", ValueError, 'refers to frist'),
        ("reference = 'plain'", "reference = 'none'", ValueError, 'reference none'),
        ("config='", "config='/nowhere", FileNotFoundError, 'there is no recipe'),
    ],
)
def test_bad_suites(module, suite, old, new, error, message):
    suite.write_text(suite.read_text().replace(old, new))
    with pytest.raises(error, match=message):
        module.load_suite(suite)


def test_missing_suite(module):
    with pytest.raises(FileNotFoundError, match="no suite 'nowhere.py'"):
        module.load_suite(Path('nowhere.py'))


def test_hidden_labels(module, load_config):
    """The wrapper is around the dataset of the config and of every step."""
    cfg = load_config()
    module.hide_labels(cfg, ConfigDict(keep=0.3, seed=1))
    outer = cfg.train_dataloader.dataset
    assert (outer.type, outer.keep) == ('HideLabels', 0.3)
    assert outer.dataset.type == 'CocoMultiLabel'
    cfg.merge_from_dict(cfg.steps.step2.to_dict())
    outer = cfg.train_dataloader.dataset
    assert outer.type == 'HideLabels' and outer.dataset.type == 'CocoMultiLabel'
    assert outer.dataset.pipeline[2].type == 'MultiView'


def test_tuning_on_a_part_of_train(module, suite, run):
    suite.write_text(suite.read_text() + 'num_tuning = 3\n')
    loaded = module.load_suite(suite)
    cfg = module.method_config(loaded, 'contrast', seed=0)
    datasets = [
        DATASETS.build(loader.dataset)
        for loader in (cfg.train_dataloader, cfg.val_dataloader)
    ]
    names = [
        [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        for dataset in datasets
    ]
    whole = Config.fromfile(loaded.methods.contrast.config).train_dataloader.dataset
    whole = DATASETS.build(whole)
    paths = [whole.get_data_info(i)['img_path'] for i in range(len(whole))]
    assert names == [paths[:-3], paths[-3:]]
    # what is held out is shown as a validation image is
    assert 'MultiView' not in str(cfg.val_dataloader.dataset.pipeline)
    _, result = run('--seeds', '0', '--methods', 'contrast')
    assert result['num_tuning'] == 3
    assert result['runs']['contrast/0']['images'] == 2 * (len(paths) - 3) * 2

    loaded.num_tuning = len(paths)
    with pytest.raises(ValueError, match=f'below the {len(paths)} training images'):
        module.method_config(loaded, 'contrast', seed=0)


@pytest.mark.slow
def test_suites_of_the_project(module):
    """All of them load; what they change is there to be changed."""
    paths = sorted(Path(module.ROOT / 'studies/suites').glob('*.py'))
    assert paths
    for path in paths:
        suite = module.load_suite(path)
        # without the images, which are not everywhere
        for field in ('frozen', 'num_tuning'):
            suite.pop(field, None)
        for name in suite.methods:
            module.method_config(suite, name, seed=0)
