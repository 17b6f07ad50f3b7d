# SPDX-License-Identifier: Apache-2.0
"""Safetensors as checkpoints: sound, damaged, hostile."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mlcl_plugin.engine.safe_checkpoint import read_checkpoint
from mlcl_plugin.engine.safetensors_file import write_safetensors
from mlcl_plugin.errors import CheckpointError

WEIGHTS = {'a.weight': torch.arange(6.0).reshape(2, 3), 'b': torch.tensor(3)}


def write(path, header, data=b''):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + data)
    return path


def test_bare_weights(tmp_path):
    """Of another program: without names of labels, as a .pth of bare weights."""
    path = tmp_path / 'model.safetensors'
    save_file(WEIGHTS, path)
    content = read_checkpoint(path)
    assert set(content) == {'state_dict'}
    for name, value in WEIGHTS.items():
        assert torch.equal(content['state_dict'][name], value)


def test_the_content_tells_the_format(tmp_path):
    path = tmp_path / 'model.pth'
    save_file(WEIGHTS, path)
    assert torch.equal(read_checkpoint(path)['state_dict']['b'], torch.tensor(3))


def test_shared_and_strided_weights(tmp_path):
    """The format knows neither; both are copied."""
    weight = torch.arange(6.0).reshape(2, 3)
    state = {'one': weight, 'two': weight, 'turned': weight.T}
    write_safetensors(tmp_path / 'a', state, {})
    for name, value in read_checkpoint(tmp_path / 'a')['state_dict'].items():
        assert torch.equal(value, state[name])


def entry(start, end, shape=(1,), dtype='F32'):
    return dict(dtype=dtype, shape=list(shape), data_offsets=[start, end])


@pytest.mark.parametrize(
    'header',
    [
        b'{',
        b'{"a": 1}',
        b'{"a": {}}',
        dict(a=entry(0, 400, (100,))),
        dict(a=entry(0, 4, (2**40,))),
        dict(a=entry(0, 4), b=entry(0, 4)),
        dict(a=entry(-4, 0)),
        dict(a=entry(0, 4, dtype='object')),
        dict(__metadata__={'mlcl': {'a': 1}}, a=entry(0, 4)),
        b'{"a":' * 10000,
    ],
)
def test_hostile_files(tmp_path, header):
    path = write(tmp_path / 'model.safetensors', header, bytes(4))
    with pytest.raises(CheckpointError, match='cannot be used as a checkpoint'):
        read_checkpoint(path)


def test_a_header_that_is_longer_than_the_file(tmp_path):
    path = tmp_path / 'model.safetensors'
    for size in (100, 2**40):
        path.write_bytes(size.to_bytes(8, 'little') + b'{}')
        with pytest.raises(CheckpointError, match='cannot be used as a checkpoint'):
            read_checkpoint(path)


def test_every_cut(tmp_path):
    """A file that is cut off anywhere is refused."""
    path = tmp_path / 'model.safetensors'
    save_file(WEIGHTS, path)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match='cannot be used as a checkpoint'):
            read_checkpoint(path)


def test_a_description_that_is_wrong(tmp_path):
    path = tmp_path / 'model.safetensors'
    save_file(WEIGHTS, path, {'mlcl': '{"format_version": 7}'})
    with pytest.raises(CheckpointError, match='format_version is 7, expected 1'):
        read_checkpoint(path)
