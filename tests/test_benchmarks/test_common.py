# SPDX-License-Identifier: Apache-2.0
import datetime
import json
import sys
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def common(load):
    return load('common')


def test_environment(common, monkeypatch):
    """What a figure depends on, and no folder of this machine."""
    monkeypatch.setattr(
        sys, 'argv', ['/some/bench_x.py', '--data-root', '/my/VOC2007', '--quick']
    )
    found = common.describe_environment()
    command = 'python benchmarks/bench_x.py --data-root VOC2007 --quick'
    assert found['command'] == command
    assert found['versions']['torch'] == torch.__version__.split('+')[0]
    assert {'python', 'numpy', 'mlcl_plugin', 'scikit-learn'} <= set(found['versions'])
    assert found['cores'] >= 1 and found['threads'] == torch.get_num_threads()
    assert found['processor'] and isinstance(found['bfloat16'], list)
    date = datetime.datetime.fromisoformat(found['date'])
    assert datetime.datetime.now().astimezone() - date < datetime.timedelta(minutes=2)


def test_tiny_sizes_take_the_place_of_no_result(common, tmp_path):
    assert common.parse_args('', []).out == common.RESULTS
    out = common.parse_args('', ['--quick']).out
    assert out != common.RESULTS and common.RESULTS not in out.parents
    args = common.parse_args(
        '', ['--quick', '--out', str(tmp_path), '--data-root', 'x'], data_root={}
    )
    assert (args.out, args.data_root) == (tmp_path, 'x')


def test_device_that_is_not_there(common, monkeypatch, capsys):
    assert common.parse_args('', [], device=common.DEVICE).device == 'cpu'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for name, message in [('cuda', 'finds no CUDA device'), ('gpu', 'cpu or cuda')]:
        with pytest.raises(SystemExit, match='^2$'):
            common.parse_args('', ['--device', name], device=common.DEVICE)
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_results_of_a_gpu_have_files_of_their_own(common, load, monkeypatch, tmp_path):
    """Beside those of a CPU, with the name of the device."""
    properties = SimpleNamespace(name='Some GPU', total_memory=24e9)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda _: properties)
    for device in ('cpu', 'cuda'):
        args = common.parse_args(
            '',
            ['--out', str(tmp_path), '--device', device],
            device=common.DEVICE,
        )
        environment = common.describe_environment(args.device)
        common.write(args, 'thing', 'Thing', 'What.', environment)
    files = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert set(files) == {'thing', 'thing_cuda'}
    assert files['thing']['environment']['device'] is None
    own = files['thing_cuda']
    assert own['name'] == 'thing_cuda' and own['title'] == 'Thing, on a GPU'
    assert 'Some GPU, 24 GB, CUDA ' in load('report').format_environment(own)
