# SPDX-License-Identifier: Apache-2.0
import builtins
import collections
import contextlib
import os
import pickle
import pickletools
import random
import subprocess
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.structures import DataSample

from mlcl_plugin.evaluation import safe_pickle
from mlcl_plugin.evaluation.safe_pickle import load_samples
from mlcl_plugin.evaluation.score_dump import ScoreDump

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def samples():
    batch = torch.rand(3, 4)
    return [
        dict(
            img_path='a.jpg',
            classes=('a', 'b', 'c', 'd'),
            pred_score=torch.rand(4),
            gt_score=torch.tensor([1.0, 0, -1, 0]),
            gt_label=torch.tensor([0]),
            row=batch[1],
            column=batch[:, 1],
            one=torch.tensor(3.5),
            none=torch.zeros(0, dtype=torch.int64),
            half=torch.rand(2).bfloat16(),
            parameter=torch.nn.Parameter(torch.rand(2)),
            numbers=[1, 2.5, None, True, 2**70, b'bytes', {3}, (1, 'é')],
        )
    ]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one.detach(), other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_what_dumps_hold(protocol):
    expected = samples()
    assert same(expected, load_samples(pickle.dumps(expected, protocol)))


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_data_samples(protocol):
    sample = DataSample(metainfo=dict(img_path='a.jpg'))
    sample.set_pred_score(torch.rand(3)).set_gt_label([0, 2])
    (found,) = load_samples(pickle.dumps([sample], protocol))
    assert found['img_path'] == 'a.jpg' and found['gt_label'].tolist() == [0, 2]
    assert torch.equal(found['pred_score'], sample.pred_score)


class Calls:
    """Its pickle calls a function."""

    def __init__(self, function, *args):
        self.result = function, args

    def __reduce__(self):
        return self.result


def canary(tmp_path):
    return str(tmp_path / 'canary')


@pytest.mark.parametrize('protocol', [0, 1, *PROTOCOLS])
def test_no_code_is_run(tmp_path, protocol):
    path = canary(tmp_path)
    for call in (
        Calls(os.system, f'touch {path}'),
        Calls(os.mkdir, path),
        Calls(subprocess.call, ['touch', path]),
        Calls(builtins.eval, f'open({path!r}, "w")'),
        Calls(builtins.exec, f'open({path!r}, "w")'),
        Calls(builtins.getattr, 'text', 'upper'),
        Calls(builtins.__import__, 'os'),
        Calls(open, path, 'w'),
        Calls(torch.load, path),
        Calls(np.load, path),
        Calls(pickle.loads, pickle.dumps(Calls(os.mkdir, path))),
        Calls(collections.Counter),
        np.zeros(3),
    ):
        content = pickle.dumps([dict(pred_score=call)], protocol)
        with pytest.raises(ValueError, match=r'it names .* which may run code'):
            load_samples(content)
    assert not os.path.exists(path)


def test_no_code_in_the_values_of_a_tensor(tmp_path):
    """torch unpickles them once more."""
    path = canary(tmp_path)
    inner = pickle.dumps(Calls(os.mkdir, path), 2)
    for values in (inner, inner * 5, b'PK\3\4' + bytes(50), b''):
        with pytest.raises(ValueError, match='pickle of scores'):
            load_samples(pickle.dumps(Calls(torch.storage._load_from_bytes, values)))
    assert not os.path.exists(path)


def test_functions_are_not_changed():
    """A pickle may set attributes of what it names."""
    for name in safe_pickle.NAMES:
        module, function = name.split()
        for state in (b'}U\x01aNs', b'N}U\x0b__defaults__Ns\x86'):
            content = f'c{module}\n{function}\n'.encode() + state + b'b.'
            with pytest.raises(ValueError, match='pickle of scores'):
                load_samples(content)
    assert same(samples()[0]['one'], load_samples(pickle.dumps(torch.tensor(3.5))))


def rebuilt(values, offset, size, stride):
    arguments = (values, offset, size, stride, False, collections.OrderedDict())
    return pickle.dumps(Calls(torch._utils._rebuild_tensor_v2, *arguments))


@pytest.mark.parametrize(
    ('offset', 'size', 'stride'),
    [(0, (10**12,), (0,)), (0, (5,), (1,)), (3, (4,), (1,)), (0, (2, 2), (10, 1))]
    + [(-1, (2,), (1,)), (0, (-2,), (1,)), (0, 'x', 'y'), (None, 2, 1)],
)
def test_tensors_larger_than_their_values(offset, size, stride):
    values = torch.rand(4).storage()
    with pytest.raises(ValueError, match='pickle of scores'):
        load_samples(rebuilt(values, offset, size, stride))


def test_memory_that_a_file_only_mentions():
    """The reader in C would take 64 GB for a place in its memo."""
    start = time.process_time()
    load_samples(b'\x80\x02Nr\xff\xff\xff\x7f.')
    huge = b'\xff\xff\xff\x7f'
    for content in (b'\x80\x04\x8e\xff\xff\xff' + huge, b'\x80\x02\x8b' + huge):
        with pytest.raises(ValueError, match='pickle of scores'):
            load_samples(content)
    deep = b'\x80\x02' + b']' * 100_000 + b'a' * 99_999 + b'.'
    load_samples(deep)
    assert time.process_time() - start < 5


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32), changes=st.integers(1, 8), protocol=st.integers(2, 5)
)
def test_damaged_files(seed, changes, protocol):
    """A value or a ValueError, nothing else."""
    rng = random.Random(seed)
    content = bytearray(pickle.dumps(samples(), protocol))
    for _ in range(changes):
        content[rng.randrange(len(content))] = rng.randrange(256)
    with contextlib.suppress(ValueError):
        load_samples(bytes(content[: rng.randrange(len(content) + 1)]))


def test_a_dump_of_another_kind(tmp_path):
    path = tmp_path / 'scores.pkl'
    path.write_bytes(pickle.dumps(Calls(os.mkdir, canary(tmp_path))))
    message = r'scores.pkl is no score dump: .* it names posix.mkdir, which no file of'
    with pytest.raises(ValueError, match=message):
        ScoreDump.load(path)
    assert 'mkdir' in str(list(pickletools.genops(path.read_bytes())))
    assert not os.path.exists(canary(tmp_path))
