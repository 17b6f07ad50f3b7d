# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import pickle
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mlcl_plugin.commands import make_parser
from mlcl_plugin.commands.test import merge_args
from mlcl_plugin.engine import StepwiseRunner
from mlcl_plugin.evaluation import MultiLabelRecognitionMetric
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump

PATH = Path(__file__).parents[2] / 'tools/test.py'
spec = importlib.util.spec_from_file_location('tools_test', PATH)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

PREFIX = 'multi-label/'


kept = []


@pytest.fixture
def trained(load_config, tmp_path, tmp_path_factory):
    """Folder of a plain run of one epoch: checkpoint ``epoch_1.pth`` and log.

    The run is made once, and copied for each test.
    """
    if not kept:
        cfg = load_config({'train_cfg.max_epochs': 1})
        cfg.pop('steps'), cfg.pop('runner_type')
        cfg.work_dir = str(tmp_path_factory.mktemp('trained') / 'work')
        Runner.from_cfg(cfg).train()
        kept.append(cfg.work_dir)
    return Path(shutil.copytree(kept[0], tmp_path / 'work'))


@pytest.fixture
def evaluate(monkeypatch, tmp_path, write_config):
    """Function that calls the tool with a checkpoint and options, in this process."""

    def call(checkpoint, *options, changes=None):
        args = [str(PATH), str(write_config(changes)), str(checkpoint)]
        args += ['--work-dir', str(tmp_path / 'eval'), *map(str, options)]
        monkeypatch.setattr(sys, 'argv', args)
        tool.main()

    return call


def last_validation(work_dir):
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        key: value
        for key, value in [line for line in lines if f'{PREFIX}mAP' in line][-1].items()
        if key.startswith(PREFIX)
    }


def merged(config, *options):
    """The config as the command line leaves it."""
    args = make_parser('test').read([str(config), *map(str, options)])
    return merge_args(Config.fromfile(config), args)


def test_same_as_last_validation(evaluate, trained, tmp_path):
    """Both are of the EMA weights, which the checkpoint holds."""
    out = tmp_path / 'metrics.json'
    evaluate(trained / 'epoch_1.pth', '--out', out, '--out-item', 'metrics')
    metrics = json.loads(out.read_text())
    expected = last_validation(trained)
    assert f'{PREFIX}AP/owl' in expected
    for key, value in expected.items():
        assert metrics[key] == pytest.approx(value, abs=1e-3), key
    logs = list((tmp_path / 'eval').glob('*/*.log'))
    assert len(logs) == 1 and f'{PREFIX}mAP' in logs[0].read_text()


def test_predictions(evaluate, trained, tmp_path, tiny_coco):
    out = tmp_path / 'predictions.pkl'
    evaluate(trained / 'epoch_1.pth', '--out', out)
    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == 7
    names = [Path(sample['img_path']).name for sample in predictions]
    assert names == [f'{number:03}.png' for number in range(7)]
    for number, sample in enumerate(predictions):
        assert sample['pred_score'].shape == (3,)
        assert ((sample['pred_score'] > 0) & (sample['pred_score'] < 1)).all()
        # the labels of image n are the bits of n + 1
        bits = [(number + 1) >> label & 1 for label in range(3)]
        assert sample['gt_score'].tolist() == bits


@pytest.mark.parametrize('suffix', ['.csv', '.parquet'])
@pytest.mark.parametrize('tta', [(), ('--tta',)], ids=['plain', 'tta'])
def test_table_of_scores(evaluate, trained, tmp_path, suffix, tta):
    """The same, to the last bit, as in the pickle, with the names of the labels."""
    for end in ('.pkl', suffix):
        evaluate(trained / 'epoch_1.pth', '--out', tmp_path / f'scores{end}', *tta)
    pickled, table = (
        ScoreDump.load(tmp_path / f'scores{end}') for end in ('.pkl', suffix)
    )
    assert table.classes == pickled.classes == ('cat', 'dog', 'owl')
    assert table.images == pickled.images
    assert (table.scores == pickled.scores).all()
    assert (table.targets == pickled.targets).all() and len(table.images) == 7


def test_decisions(evaluate, trained, tmp_path):
    """Labels by the file, in the metrics; scores as they are, in the dump."""
    path = tmp_path / 'decisions.json'
    decisions = Decisions(['cat', 'dog', 'owl'], [0.4, 0.5, 0.3], [2.0, 0.5, 1.0])
    decisions.save(path)
    checkpoint = trained / 'epoch_1.pth'
    evaluate(checkpoint, '--out', tmp_path / 'plain.csv')
    evaluate(checkpoint, '--out', tmp_path / 'scores.csv', '--decisions', path)
    out = tmp_path / 'metrics.json'
    options = ('--out', out, '--out-item', 'metrics')
    evaluate(checkpoint, *options, '--decisions', path)
    assert (tmp_path / 'plain.csv').read_text() == (tmp_path / 'scores.csv').read_text()
    dump = ScoreDump.load(tmp_path / 'scores.csv')
    metrics = json.loads(out.read_text())
    expected = MultiLabelRecognitionMetric.calculate(
        dump.scores, dump.targets, decisions=decisions
    )
    for key, value in expected.items():
        assert metrics[PREFIX + key] == value, key
    assert expected != MultiLabelRecognitionMetric.calculate(dump.scores, dump.targets)


def test_decisions_that_do_not_fit(evaluate, trained, tmp_path, ends_with_line):
    path = tmp_path / 'decisions.json'
    checkpoint = trained / 'epoch_1.pth'
    with ends_with_line('^test: .*no decision file .*decisions.json'):
        evaluate(checkpoint, '--decisions', path)
    Decisions(['owl', 'dog', 'cat'], [0.5] * 3).save(path)
    with ends_with_line(
        '^test: The decisions are for other labels: the same labels in'
    ):
        evaluate(checkpoint, '--decisions', path)
    changes = {'test_evaluator': dict(type='MultiLabelMetric', _delete_=True)}
    with ends_with_line('^test: .*needs a MultiLabelRecognitionMetric in'):
        evaluate(checkpoint, '--decisions', path, changes=changes)


def test_flip_by_default_with_tta(evaluate, trained, tmp_path):
    """Scores are the mean over an image and its mirror image."""
    scores = {}
    flip = dict(type='RandomFlip', prob=1.0, direction='horizontal')
    pipeline = [
        dict(type='LoadImage'),
        dict(type='LabelsToTargets', num_classes=3),
        dict(type='PackInputs'),
    ]
    flipped = {'test_dataloader.dataset.pipeline': [*pipeline[:2], flip, pipeline[2]]}
    for name, options, changes in [
        ('plain', (), None),
        ('flipped', (), flipped),
        ('tta', ('--tta',), None),
    ]:
        out = tmp_path / f'{name}.pkl'
        evaluate(trained / 'epoch_1.pth', '--out', out, *options, changes=changes)
        predictions = pickle.loads(out.read_bytes())
        scores[name] = torch.stack([sample['pred_score'] for sample in predictions])
    assert not torch.allclose(scores['plain'], scores['flipped'], atol=1e-4)
    torch.testing.assert_close(
        scores['tta'],
        (scores['plain'] + scores['flipped']) / 2,
        rtol=0,
        atol=1e-6,
    )


def test_tta_metrics(evaluate, trained, tmp_path):
    out = tmp_path / 'metrics.json'
    evaluate(trained / 'epoch_1.pth', '--tta', '--out', out, '--out-item', 'metrics')
    assert json.loads(out.read_text()).keys() == last_validation(trained).keys()


@pytest.fixture
def compare_engines(evaluate, trained, tmp_path):
    """Function that tests by both engines; gives metrics and predictions of each."""

    def compare(*options):
        results = []
        for engine in ('torch', 'onnxruntime'):
            scores, metrics = (tmp_path / f'{engine}{x}' for x in ('.pkl', '.json'))
            checkpoint, own = trained / 'epoch_1.pth', ('--engine', engine)
            evaluate(checkpoint, *own, '--out', scores, *options)
            own = (*own, '--out', metrics, '--out-item', 'metrics')
            evaluate(checkpoint, *own, *options)
            predictions = pickle.loads(scores.read_bytes())
            results.append((json.loads(metrics.read_text()), predictions))
        (metrics, torch_samples), (onnx_metrics, onnx_samples) = results
        assert onnx_metrics.keys() == metrics.keys()
        for key, value in metrics.items():
            if 'time' not in key:
                assert onnx_metrics[key] == pytest.approx(value, abs=1e-3), key
        for one, two in zip(torch_samples, onnx_samples, strict=True):
            assert one.keys() == two.keys() and one['img_path'] == two['img_path']
            torch.testing.assert_close(
                one['pred_score'], two['pred_score'], rtol=0, atol=1e-4
            )
            assert one['pred_label'].tolist() == two['pred_label'].tolist()

    return compare


@pytest.mark.parametrize('tta', [(), ('--tta',)], ids=['plain', 'tta'])
def test_engine(compare_engines, monkeypatch, tta):
    """Another engine gets the images, with the averaged weights, and computes all."""
    computed = []

    class Copy:
        def __init__(self, module, images, outputs):
            self.module = module

        def __call__(self, images):
            computed.append(len(images))
            return self.module(images)

    monkeypatch.setattr('mlcl_plugin.inference.onnx_engine.OnnxModule', Copy)
    for module in ('engine.onnx_graph', 'inference.onnx_engine'):
        monkeypatch.setattr(f'mlcl_plugin.{module}.require_packages', lambda: None)
    compare_engines(*tta)
    # 7 images twice: scores, and metrics.
    assert sum(computed) == 14 * (1 + bool(tta))


@pytest.mark.slow
def test_onnxruntime(compare_engines):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    compare_engines()


def test_engine_that_cannot(evaluate, trained, monkeypatch, ends_with_line):
    checkpoint, engine = trained / 'epoch_1.pth', ('--engine', 'onnxruntime')
    with ends_with_line('^test.py: error: --engine onnxruntime computes in float32'):
        evaluate(checkpoint, *engine, '--amp')
    monkeypatch.setattr(
        'mlcl_plugin.engine.onnx_graph.missing_packages', lambda: ['onnxruntime']
    )
    with ends_with_line(r'^test: ONNX needs .* onnxruntime.*mlcl_plugin\[export\]'):
        evaluate(checkpoint, *engine)


def test_tta_of_the_config(write_config, trained):
    own = [dict(type='PackInputs')]
    config = write_config({'tta_pipeline': own, 'tta_model': dict(type='Own')})
    cfg = merged(config, trained / 'epoch_1.pth', '--tta')
    assert cfg.model.type == 'Own'
    assert cfg.model.module.type == 'ImageClassifier'
    assert cfg.test_dataloader.dataset.pipeline == own


def test_options(evaluate, trained, tmp_path):
    """An option changes what is evaluated."""
    out = tmp_path / 'predictions.pkl'
    evaluate(
        *(trained / 'epoch_1.pth', '--out', out),
        *('--cfg-options', 'test_dataloader.dataset.indices=2'),
    )
    assert len(pickle.loads(out.read_bytes())) == 2


def test_show_dir(evaluate, trained, tmp_path):
    """One annotated image a sample."""
    shown = tmp_path / 'shown'
    evaluate(trained / 'epoch_1.pth', '--show-dir', shown, '--interval', 2)
    files = sorted(shown.rglob('*.png'))
    assert len(files) >= 3
    for file in files:
        assert np.asarray(cv2.imread(str(file))).ndim == 3


def test_second_step_checkpoint_in_model_without_projector(
    evaluate, load_config, tmp_path
):
    """``test.py`` takes the config of both steps as it stands."""
    cfg = load_config({'train_cfg.max_epochs': 1})
    StepwiseRunner(cfg).train()
    work_dir = Path(cfg.work_dir) / 'step2'
    out = tmp_path / 'metrics.json'
    evaluate(work_dir / 'epoch_1.pth', '--out', out, '--out-item', 'metrics')
    metrics = json.loads(out.read_text())
    for key, value in last_validation(work_dir).items():
        assert metrics[key] == pytest.approx(value, abs=1e-3), key


def test_part_of_a_model(evaluate, trained, ends_with_line):
    """Not the score of a random neck and head."""
    path = trained / 'epoch_1.pth'
    state = torch.load(path, weights_only=False)['state_dict']
    state = {k: v for k, v in state.items() if k.startswith('backbone.')}
    torch.save(dict(state_dict=state, meta={}), path)
    with ends_with_line(r'epoch_1.pth does not fit .* neck\.queries'):
        evaluate(path)


@pytest.mark.parametrize('tta', [(), ('--tta',)], ids=['plain', 'tta'])
def test_other_classes(evaluate, trained, tta, ends_with_line):
    changes = {'model.neck.num_classes': 5, 'model.head.num_classes': 5}
    with ends_with_line(r'3 of its .* another shape.*neck\.queries'):
        evaluate(trained / 'epoch_1.pth', *tta, changes=changes)


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_bare_weights(evaluate, trained, tmp_path, prefix):
    """Without 'state_dict', also as DDP names them."""
    state = torch.load(trained / 'epoch_1.pth', weights_only=False)['state_dict']
    bare = tmp_path / 'bare.pth'
    torch.save({prefix + key: value for key, value in state.items()}, bare)
    out = tmp_path / 'metrics.json'
    evaluate(bare, '--out', out, '--out-item', 'metrics')
    metrics = json.loads(out.read_text())
    for key, value in last_validation(trained).items():
        assert metrics[key] == pytest.approx(value, abs=1e-3), key


def test_file_without_weights(evaluate, tmp_path, ends_with_line):
    torch.save(dict(epoch=3), tmp_path / 'other.pth')
    with ends_with_line("other.pth has none of the .* It has 'epoch'"):
        evaluate(tmp_path / 'other.pth')


def test_missing_checkpoint(evaluate, tmp_path, ends_with_line):
    with ends_with_line('gone.pth does not exist'):
        evaluate(tmp_path / 'gone.pth')


def test_work_dir(write_config, trained):
    config = write_config()
    checkpoint = trained / 'epoch_1.pth'
    assert merged(config, checkpoint).work_dir == f'./work_dirs/{config.stem}'
    assert merged(config, checkpoint, '--work-dir', 'there').work_dir == 'there'
    assert merged(config, checkpoint, '--amp').test_cfg.fp16 is True


def test_flags_that_contradict(capsys):
    for options in (['--out-item', 'metrics'], ['--out', 'scores.json']):
        with pytest.raises(SystemExit):
            make_parser('test').read(['config.py', 'epoch_1.pth', *options])
        assert '--out' in capsys.readouterr().err
