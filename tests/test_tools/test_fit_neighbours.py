# SPDX-License-Identifier: Apache-2.0
import argparse
import importlib.util
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS

from mlcl_plugin.commands import make_parser
from mlcl_plugin.commands.neighbours import KINDS, check_number
from mlcl_plugin.evaluation.score_dump import ScoreDump

TOOLS = Path(__file__).parents[2] / 'tools'


def load_tool(name):
    spec = importlib.util.spec_from_file_location(
        f'tools_of_{name}', TOOLS / f'{name}.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool('fit_neighbours')


@pytest.fixture
def trained(write_config, tmp_path):
    """Config and last checkpoint of a tiny run in two steps."""
    path = write_config({'train_cfg.max_epochs': 1, 'work_dir': str(tmp_path / 'work')})
    RUNNERS.build(Config.fromfile(path)).train()
    return path, tmp_path / 'work/step2/epoch_1.pth'


def test_train_fit_test_infer(trained, tmp_path, tiny_coco, monkeypatch, capsys):
    """The other tools take what it writes, and agree on the scores."""
    config, checkpoint = trained
    out = tmp_path / 'fitted/model.pth'
    tool.main([str(config), str(checkpoint), '--out', str(out), '--device', 'cpu'])
    written = str(out.with_suffix('.py'))
    assert f'wrote {out} and {written}, weights 0.3, 0.7' in capsys.readouterr().out

    test, dumps = load_tool('test'), {}
    for name, options in dict(plain=(), tta=('--tta',), amp=('--amp',)).items():
        dumps[name] = tmp_path / f'{name}.csv'
        args = [written, str(out), '--work-dir', str(tmp_path / name)]
        args += ['--out', str(dumps[name]), *options]
        monkeypatch.setattr(sys, 'argv', ['test.py', *args])
        test.main()
    plain, tta, amp = (ScoreDump.load(path) for path in dumps.values())
    assert plain.scores.shape == (7, 3) and (plain.targets >= 0).all()
    assert abs(plain.scores - tta.scores).max() < 0.7
    assert abs(plain.scores - amp.scores).max() < 0.3

    lines = tmp_path / 'lines.jsonl'
    infer = load_tool('infer')
    args = [str(tiny_coco / 'val'), written, str(out), '--out', str(lines)]
    assert infer.main([*args, '--all-scores', '--device', 'cpu', '--attention']) == 0
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    for result, scores in zip(results, plain.scores):
        assert list(result['scores'].values()) == pytest.approx(scores, abs=1e-5)


def test_options(trained, tmp_path):
    config, checkpoint = trained
    args = [str(config), str(checkpoint), '--device', 'cpu']
    args += ['--neighbours', 'label', 'image', '--weights', '0.5', '0.25', '0.25']
    args += ['--temperature', '0.1', '--num-neighbours', '3', '--dims', '4']
    tool.main([*args, '--storage', 'int8', '--every-entry'])
    cfg = Config.fromfile(checkpoint.with_name('epoch_1_neighbours.py'))
    assert [item.type for item in cfg.model.neighbours] == list(KINDS.values())
    for item in cfg.model.neighbours:
        item = dict(item)
        del item['type']
        assert item == dict(
            temperature=0.1, num_neighbours=3, dims=4, storage='int8', prototypes=None
        )
    assert tuple(cfg.model.weights) == (0.5, 0.25, 0.25)
    assert not cfg.model.head.get('loss_contrastive')


@pytest.mark.parametrize(
    ('memory', 'refused'),
    [
        (dict(type='LabelNeighbours'), True),
        (dict(type='LabelNeighbours', prototypes=[2, 3]), True),
        # A config that keeps every entry.
        (dict(type='LabelNeighbours', prototypes=None), False),
        (dict(type='ImageNeighbours'), False),
    ],
)
def test_number_of_neighbours(memory, refused):
    args = argparse.Namespace(num_neighbours=3, every_entry=False, prototypes=None)
    with pytest.raises(ValueError, match='all vote') if refused else nullcontext():
        check_number(args, [memory])


def test_step_and_default_memory(trained, tmp_path):
    """Projections need the head of the step that trains with contrast."""
    config, checkpoint = trained
    args = [str(config), str(checkpoint), '--device', 'cpu', '--source', 'projections']
    with pytest.raises(SystemExit):
        tool.main(args)
    tool.main([*args, '--step', 'step2', '--prototypes', '2', '3'])
    cfg = Config.fromfile(checkpoint.with_name('epoch_1_neighbours.py'))
    (memory,) = cfg.model.neighbours
    assert memory.type == 'LabelNeighbours' and list(memory.prototypes) == [2, 3]


def test_choose(trained, tmp_path, capsys):
    config, checkpoint = trained
    tool.main(
        [str(config), str(checkpoint), '--device', 'cpu', '--choose-on', 'held-out']
        + ['--cfg-options', 'train_dataloader.dataset.indices=5']
    )
    assert 'wrote' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--weights', '0.2', '0.5', '0.3'], 'weights must have 2 entries'),
        (['--weights', '0.2', '0.5'], 'weights must not be negative and must sum'),
        (['--choose-on', 'held-out'], '--choose-on held-out takes the images'),
        (['--choose-on', 'val'], '--choose-on val: val_dataloader and test_dataloader'),
        (['--out', 'model.py'], "out must end with '.pth', got --out model.py"),
        (['--dims', '17'], 'got --dims 17 for a width of 16'),
        (['--step', 'step3'], "no step 'step3'"),
        (['--device', 'nonsense'], 'device'),
        (['--num-neighbours', '3'], 'centres are stored, which all vote. Leave it out'),
        (['--source', 'backbone'], "source must be one of ('embeddings'"),
    ],
)
def test_one_line_errors(trained, capsys, options, message):
    config, checkpoint = trained
    args = [str(config), str(checkpoint), '--device', 'cpu', *options]
    with pytest.raises(SystemExit) as stopped:
        tool.main(args)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith('fit_neighbours: ') and message in lines[-1]


def test_no_checkpoint(write_config, capsys):
    with pytest.raises(SystemExit):
        tool.main([str(write_config()), 'none.pth'])
    assert 'none.pth does not exist' in capsys.readouterr().err


@pytest.mark.parametrize('options', [['--weights', '2'], ['--prototypes', '1']])
def test_wrong_arguments(options, capsys):
    with pytest.raises(SystemExit):
        make_parser('neighbours').read(['config.py', 'model.pth', *options])


def test_weights_or_choice(capsys):
    with pytest.raises(SystemExit):
        make_parser('neighbours').read(
            ['c', 'm', '--weights', '0', '1', '--choose-on', 'val']
        )
    assert 'not allowed with' in capsys.readouterr().err
