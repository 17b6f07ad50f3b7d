# SPDX-License-Identifier: Apache-2.0
import json
import os

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from scipy.sparse import csr_array

from mlcl_plugin.apis import MultiLabelInferencer, fit, write_report
from mlcl_plugin.datasets.forms import ImageLabels
from mlcl_plugin.fit.backbone import find_backbone
from mlcl_plugin.fit.make_config import make_config
from mlcl_plugin.fit.options import FitOptions, read_time, read_val
from mlcl_plugin.fit.recipe import Recipe, choose_recipe, find_device
from mlcl_plugin.fit.speed import Speed, fit_time
from mlcl_plugin.fit.split_data import Parts
from tests.child_process import UNFORMATTED
from tests.test_fit.test_read_data import make_many, picture


@pytest.fixture
def tiny_backbone(monkeypatch, small_backbone):
    """The small backbone under the default's name."""
    monkeypatch.setattr(*UNFORMATTED)
    monkeypatch.setattr(
        'mlcl_plugin.fit.run.find_backbone', lambda name: small_backbone
    )


def test_from_a_table_to_a_model(tmp_path, tiny_backbone, capsys):
    table = make_many(tmp_path / 'photos', 30)
    out = tmp_path / 'out'
    options = dict(classes=['cat', 'dog'], image_size=32, epochs=2, device='cpu')
    options['cfg_options'] = {'cached_features.num_views': 3}
    fitted = fit(table, out, **options)
    assert fitted.test is None
    # The baseline and the training share their features.
    (folder,) = (out / 'features').iterdir()
    assert np.load(folder / 'train.npy', mmap_mode='r').shape[1] == 3
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:5]] == [
        'data',
        'model',
        'device',
        'recipe',
        'results',
    ]
    assert len(printed) < 50
    assert printed[3].endswith('scores of 10 % neighbours, 90 % logistic regression')
    output = '\n'.join(printed)
    assert "head's val mAP" in output and 'CF1 and OF1 of the validation' in output
    # Validation images do not stand in for test images in what is said.
    assert 'test' not in (out / 'data/check.md').read_text()
    names = ['config.py', 'model.pth', 'decisions.json', 'report.md', 'curves.png']
    names += ['log.txt', 'val_scores.csv', 'data/train.csv', 'data/check.md']
    names += ['report.json', 'data/check.json']
    for name in names:
        assert (out / name).is_file(), name
    assert len(list((out / 'examples').iterdir())) >= 6
    text = fitted.report.read_text()
    assert 'logistic regression' in text and '| cat' in text
    # All on one page.
    page, missing = write_report(out, num_resamples=10)
    assert missing == []
    text = page.read_text()
    for expected in ('Beside the baseline', 'nearest neighbours', 'Contrastive loss'):
        assert expected in text
    # There are no test images.
    assert 'Label photographs' in text and 'core the test images' not in text

    # An ordinary checkpoint with an ordinary config.
    inferencer = MultiLabelInferencer(
        fitted.config, fitted.checkpoint, decisions=fitted.decisions
    )
    image = str(table.parent / '00.png')
    (answer,) = inferencer([image], return_scores=True)
    assert answer['scores'].keys() == {'cat', 'dog'}
    scores = fitted.val.of('model').dump
    row = scores.images.index(
        next(name for name in scores.images if name.endswith('.png'))
    )
    (other,) = inferencer([scores.images[row]], return_scores=True)
    calibrated = fitted.found.decisions.calibrate(scores.scores)[row]
    assert list(other['scores'].values()) == pytest.approx(calibrated, abs=1e-4)

    with pytest.raises(FileExistsError, match='has a fit already'):
        fit(table, out, **options)
    with pytest.raises(ValueError, match='begun with another seed=0'):
        fit(table, out, **options, seed=1, resume=True)
    resumed = fit(table, out, **options, resume=True)
    assert 'both steps are finished' in capsys.readouterr().out
    first, second = (
        torch.load(path, weights_only=False)['state_dict']
        for path in (fitted.checkpoint, resumed.checkpoint)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_equal_seeds_give_equal_models(tmp_path, tiny_backbone):
    table = make_many(tmp_path / 'photos', 30)
    options = dict(classes=['cat', 'dog'], image_size=32, epochs=2, device='cpu')
    states = []
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        fitted = fit(table, tmp_path / name, seed=seed, **options)
        states.append(torch.load(fitted.checkpoint, weights_only=False)['state_dict'])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    key = 'head.classifier.weight'
    assert not torch.equal(states[0][key], states[2][key])


@pytest.mark.slow
def test_the_full_recipe_on_few_images(tmp_path, tiny_backbone):
    # One image of the label in all: it can be in one part only.
    for number in range(6):
        picture(tmp_path / 'photos' / 'cat' / f'{number}.png', number)
    picture(tmp_path / 'photos' / 'owl' / '0.png', 0)
    picture(tmp_path / 'photos' / 'dog' / '9.png', 9)
    fitted = fit(
        tmp_path / 'photos',
        tmp_path / 'out',
        recipe='full',
        plain=True,
        image_size=32,
        epochs=1,
        device='cpu',
        val=0.3,
    )
    assert any('no validation image' in note for note in fitted.found.notes)
    cfg = Config.fromfile(fitted.config)
    assert 'cached_features' not in cfg
    assert 'model' not in cfg.steps.step2


def test_a_damaged_image_stops_before_the_training(tmp_path, tiny_backbone):
    table = make_many(tmp_path / 'photos', 12)
    (table.parent / '03.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'cannot be read.*03\.png'):
        fit(table, tmp_path / 'out', classes=['cat', 'dog'], image_size=32)


def test_an_option_of_the_config(tmp_path, tiny_backbone):
    table = make_many(tmp_path / 'photos', 12)
    for key, message in {
        'steps.step9.train_cfg.max_epochs': 'no step',
        'model.head.droput': r"takes no 'droput'\. Did you mean dropout",
        'train_dataloader.batchsize': 'Did you mean batch_size',
    }.items():
        with pytest.raises(ValueError, match=message):
            fit(
                table,
                tmp_path / 'out',
                classes=['cat', 'dog'],
                cfg_options={key: 3},
            )
        # The folder is free for a call with other options, and stays.
        assert os.listdir(tmp_path / 'out') == []


def test_labels_that_are_never_present_are_named(
    tmp_path, tiny_backbone, monkeypatch, capsys
):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('mlcl_plugin.fit.run.FrozenFeatures', stop)
    table = make_many(tmp_path / 'photos', 12)
    lines = table.read_text().splitlines()
    changed = [f'{lines[0]},zebra', *(f'{line},0' for line in lines[1:])]
    table.write_text('\n'.join(changed))
    with pytest.raises(KeyboardInterrupt):
        fit(table, tmp_path / 'out', classes=['cat', 'dog', 'zebra'], image_size=32)
    assert "never present: there is nothing to learn them from. ['zebra']" in (
        capsys.readouterr().out
    )


def test_weights_that_cannot_be_fetched(tmp_path, tiny_backbone, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError('no network')

    monkeypatch.setattr('mlcl_plugin.fit.run.FrozenFeatures', fail)
    table = make_many(tmp_path / 'photos', 12)
    options = dict(classes=['cat', 'dog'], image_size=32)
    with pytest.raises(OSError, match="of backbone='timm/x' cannot .* no network"):
        fit(table, tmp_path / 'out', backbone='timm/x', **options)
    with pytest.raises(ConnectionError, match='^no network$'):
        fit(table, tmp_path / 'other', **options)


def test_a_folder_of_something_else_is_left_alone(tmp_path, tiny_backbone):
    table = make_many(tmp_path / 'photos', 12)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine.txt').write_text('')
    with pytest.raises(FileExistsError, match='is not empty'):
        fit(table, tmp_path / 'out', classes=['cat', 'dog'])
    assert os.listdir(tmp_path / 'out') == ['mine.txt']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(recipe='best'), 'recipe must be one of'),
        (dict(image_size=8), 'image_size must be at least 32'),
        (dict(epochs=0), 'epochs must be positive'),
        (dict(time=0), 'time must be positive'),
        (dict(time=60, epochs=3), 'both set the length'),
        (dict(seed=-1), 'seed must not be negative'),
        (dict(val=1.5), 'val must be a share'),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fit('labels.csv', tmp_path, **options)


def test_texts_of_options():
    assert (read_time('2h'), read_time('1.5m')) == (7200, 90)
    for text in ('0', '-3', '5 days', 'm'):
        with pytest.raises(ValueError, match='expected a time'):
            read_time(text)
    assert read_val('0.25') == 0.25
    with pytest.raises(ValueError, match="no device='abc'"):
        find_device('abc')


def test_recipes_follow_the_number_of_images(tmp_path):
    class Data:
        def __init__(self, number):
            self.parts = {'train': type('Part', (), {'images': range(number)})}

    def choose(number, **options):
        options = FitOptions('a.csv', tmp_path, device='cpu', **options)
        return choose_recipe(options, Data(number))

    few, many = choose(20), choose(20000)
    assert few.kind == many.kind == 'frozen'
    assert few.batch_size == 20 and many.batch_size == 32
    assert few.epochs[0] > many.epochs[0]
    assert choose(20, epochs=7).epochs[0] == 7
    assert choose(20, recipe='full').num_views == 0
    assert not choose(20, plain=True).contrast


@pytest.mark.parametrize(('number', 'strength'), [(499, None), (500, 0.2)])
def test_few_images_tune_the_regression(tmp_path, number, strength):
    images = tuple(f'{place}.jpg' for place in range(number))
    targets = csr_array(np.ones((number, 2), np.int8))
    labels = ImageLabels(('cat', 'dog'), images, targets)
    parts = Parts(tmp_path, dict(train=labels, val=labels), True)
    options = FitOptions('a.csv', tmp_path, device='cpu')
    recipe = choose_recipe(options, parts)
    tables = dict(train=tmp_path / 't.csv', val=tmp_path / 'v.csv')
    cfg = make_config(options, parts, recipe, find_backbone('efflite0'), tables)
    (member,) = (m for m in cfg.model.neighbours if m.type == 'PooledLogistic')
    assert MODELS.build(member).strength == strength
    assert member.grid == 3 and member.num_views == 0


def test_less_time_gives_fewer_views_and_epochs():
    recipe = Recipe('frozen', (20, 5), 32, 2, 224, True, 'cpu', 480)
    speed = Speed(0.03, 0.004)
    short, seconds = fit_time(recipe, 90, speed, 480, 120)
    long, more = fit_time(recipe, 600, speed, 480, 120)
    assert short.num_views < long.num_views
    assert short.epochs < long.epochs
    assert seconds < 90 < more < 600
    least, seconds = fit_time(recipe, 1, speed, 480, 120)
    assert least.epochs[0] == 2 and seconds > 1


def test_the_state_names_all_options(tmp_path, tiny_backbone):
    table = make_many(tmp_path / 'photos', 12)
    (table.parent / '03.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='cannot be read'):
        fit(table, tmp_path / 'out', classes=['cat', 'dog'], image_size=32)
    state = json.loads((tmp_path / 'out' / 'fit.json').read_text())
    assert state['classes'] == ['cat', 'dog'] and state['image_size'] == 32
