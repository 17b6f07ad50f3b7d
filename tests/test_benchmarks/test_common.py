# SPDX-License-Identifier: Apache-2.0
import datetime
import sys

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
