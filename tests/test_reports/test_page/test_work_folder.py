# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil

import pytest

from mlcl_plugin.reports.page import model_files, read_work_folder
from mlcl_plugin.reports.page.config_words import describe_config


def test_steps(make_work):
    path = make_work()
    work = read_work_folder(path)
    assert work.kind == 'steps' and list(work.steps) == ['step1', 'step2']
    assert [row['part'] for row in work.rows] == ['step1'] * 3 + ['step2'] * 3
    assert work.dumps == [path / 'test_scores.csv']
    assert work.decisions == path / 'decisions.json'
    assert work.model == path / 'step2/epoch_2.pth'
    assert [item.name for item in work.checkpoints] == [
        'step1/epoch_2.pth',
        'step2/epoch_2.pth',
    ]
    assert work.environment == {
        'sys.platform': 'linux',
        'Python': '3.11.7',
        'PyTorch': '2.14.1',
        'MMEngine': '0.10.12',
        'seed': '7',
    }
    assert work.data_check['findings'][0]['message'] == 'bee is rare'
    assert work.missing == [] and work.unfinished == []


def test_words(make_work):
    facts = dict(describe_config(read_work_folder(make_work())))
    assert facts == {
        'Classifier': 'ImageClassifier',
        'Backbone': 'ResNet, depth 101',
        'Neck': 'label attention, 4 heads, 512 dimensions',
        'Head': 'LabelWiseClsHead',
        'Labels': '3',
        'Image size': '320 × 224 px',
        'Data, train': 'TabularMultiLabel, a.csv',
        'Training, step1': '2 epochs; batches of 16 images; 1 views of each; AdamW, '
        'learning rate 0.0001',
        'Training, step2': '2 epochs; batches of 16 images; 2 views of each; AdamW, '
        'learning rate 0.0001; contrast LabelWiseContrastiveLoss (weight 0.5, '
        'temperature 0.2)',
        'Average of the weights': 'EMAHook, momentum 0.002',
        'Seed': '7',
    }


@pytest.mark.parametrize(
    'config',
    [
        'model = 3',
        'model = dict(backbone=[], neck=None, head=5, neighbours=7)',
        "model = dict(head=dict(loss='x'))\ncustom_hooks = 3\nrandomness = 1",
        'test_dataloader = dict(dataset=dict(dataset=3))\ntrain_dataloader = 1',
        "test_dataloader = dict(dataset=dict(pipeline=[3, dict(type='Resize')]))",
        "steps = 3\nmodel = dict(type=['a'], neck=dict(type=('b',)))",
    ],
)
def test_words_of_strange_configs(make_work, config):
    facts = describe_config(read_work_folder(make_work(config=config)))
    assert all(isinstance(text, str) and text for _, text in facts)


def test_run_without_steps(make_work):
    path = make_work() / 'step1'
    work = read_work_folder(path)
    assert work.kind == 'run' and list(work.steps) == ['']
    assert work.unfinished == []
    assert any(text.startswith('No scores') for text in work.missing)
    assert any(text.startswith('No findings') for text in work.missing)


def test_fit(make_work, make_dump, tmp_path):
    path = tmp_path / 'fit'
    path.mkdir()
    shutil.move(make_work(), path / 'train')
    (path / 'fit.json').write_text(json.dumps(dict(source='a.csv', epochs=3)))
    (path / 'config.py').write_text('model = dict(type="NeighbourClassifier")')
    (path / 'model.pth').write_bytes(b'not opened')
    make_dump(path / 'val_scores.csv')
    work = read_work_folder(path)
    assert work.kind == 'fit' and list(work.steps) == ['step1', 'step2']
    assert work.config == dict(model=dict(type='NeighbourClassifier'))
    assert work.model == path / 'model.pth'
    assert work.options == dict(source='a.csv', epochs=3)
    assert model_files(work) == (path / 'config.py', path / 'model.pth')
    # The fit of this test has left no thresholds, and checks lie elsewhere.
    assert [text.split(',')[0] for text in work.missing] == [
        'No thresholds of labels',
        'No findings about the data. Make them: mlcl check CONFIG --out '
        f'{path / "check"}',
    ]


def test_fit_that_has_not_begun(tmp_path):
    (tmp_path / 'fit.json').write_text('{}')
    work = read_work_folder(tmp_path)
    assert 'The training has not begun: there is no folder of a run.' in work.missing
    assert model_files(work) is None


def test_what_is_missing(make_work):
    path = make_work()
    (path / 'step2/finished_checkpoint').unlink()
    for step in ('step1', 'step2'):
        (path / step / 'epoch_2.pth').unlink()
        for file in path.glob(f'{step}/*/vis_data/*'):
            file.unlink()
        (path / step / 'my_recipe.py').unlink()
    (path / 'decisions.json').unlink()
    starts = [text.split(':')[0] for text in read_work_folder(path).missing]
    assert starts == [
        'No losses and validations',
        'The training has not finished',
        'No config',
        'No checkpoint',
        'No thresholds of labels, so that 0.5 is used for all. Find them on scores of '
        'validation images',
    ]


def test_neighbours_are_the_final_model(make_work):
    path = make_work()
    for name in ('neighbours.pth', 'neighbours.py'):
        (path / 'step2' / name).write_text('')
    folder = path / 'step2'
    assert model_files(read_work_folder(path)) == (
        folder / 'neighbours.py',
        folder / 'neighbours.pth',
    )


def test_no_work_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no folder'):
        read_work_folder(tmp_path / 'nowhere')
    (tmp_path / 'photos').mkdir()
    with pytest.raises(ValueError, match='is no work folder: neither'):
        read_work_folder(tmp_path)


def test_files_that_are_none(make_work):
    """Pipes, of which reading never ends, and what is no JSON."""
    path = make_work()
    (path / 'check.json').unlink()
    (path / 'decisions.json').unlink()
    for name in ('check.json', 'decisions.json', 'x_scores.csv', 'y_scores.parquet'):
        os.mkfifo(path / name)
    (path / 'report.json').write_text('[' * 10**5)
    (path / 'table.csv').write_text('image,labels\na.jpg,cat\n')
    work = read_work_folder(path)
    assert work.data_check == {} and work.decisions is None
    assert [dump.name for dump in work.dumps] == ['test_scores.csv']
