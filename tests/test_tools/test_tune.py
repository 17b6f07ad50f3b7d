# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools/tune.py'
spec = importlib.util.spec_from_file_location('tools_of_tune', TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture
def config(write_config):
    pytest.importorskip('optuna')
    return write_config({'train_cfg.max_epochs': 1})


def test_search(config, tmp_path, capsys):
    out = tmp_path / 'search'
    args = [str(config), '--out', str(out), '--trials', '1', '--share', '0.4']
    args += ['--range', 'optim_wrapper.optimizer.lr=1e-3:0.1:log']
    args += ['--choice', 'train_dataloader.batch_size=2,3', '--no-prune']
    args += ['--cfg-options', 'steps.step2.train_cfg.max_epochs=1']
    assert tool.main(args) == 0
    shown = capsys.readouterr().out
    assert 'trial 0: mAP' in shown and f'mlcl train {out}/best.py' in shown
    assert "'step2': {'train_cfg': {'max_epochs': 1}}" in (out / 'best.py').read_text()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ([], 'give at least one setting to search, by --range or --choice'),
        (['--range', 'a'], r'--range: expected KEY=LOW:HIGH\[:log|:int\]'),
        (['--range', 'optim_wrapper.optimizer.lr=3'], 'expected a range as LOW:HIGH'),
        (['--range', 'model.head.foo=0:1'], "takes no 'foo'"),
        (['--choice', 'model.head.foo=1'], 'two or more values'),
        (['--range', 'a=0:1', '--share', '1'], '--share 1.0'),
        (['--range', 'a=0:1', '--trials', '0'], 'at least 1'),
    ],
)
def test_wrong_arguments(config, tmp_path, ends_with_line, args, message):
    with ends_with_line(message):
        tool.main([str(config), '--out', str(tmp_path / 'search'), *args])


def test_folder_of_something_else(config, tmp_path, ends_with_line):
    args = [str(config), '--out', str(tmp_path), '--range', 'model.head.dropout=0:1']
    with ends_with_line('has no search. Choose another folder: --out DIR'):
        tool.main(args)
