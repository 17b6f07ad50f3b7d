# SPDX-License-Identifier: Apache-2.0
import functools
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mlcl_plugin.engine import safe_checkpoint
from mlcl_plugin.engine.safe_checkpoint import ALLOWED, _check_copies, read_checkpoint


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def sound() -> dict:
    """What MMEngine's checkpoints of a training hold."""
    buffer = HistoryBuffer()
    for value in range(5):
        buffer.update(np.float64(value), 1)
    return dict(
        meta=dict(epoch=1, iter=np.int64(3), dataset_meta=dict(classes=('a', 'b'))),
        state_dict=torch.nn.BatchNorm2d(3).state_dict(),
        optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[{}]),
        message_hub=dict(log_scalars=dict(loss=buffer)),
        bfloat16=torch.ones(2, dtype=torch.bfloat16),
        parameter=torch.nn.Parameter(torch.ones(2)),
        random=dict(
            python=random.getstate(),
            numpy=np.random.get_state(),
            torch=torch.get_rng_state(),
        ),
        other=[b'abc\xff', {1, 2}, slice(1, 2), torch.Size([1]), torch.float16, 1e300],
    )


@pytest.fixture(params=[True, False], ids=['zip', 'legacy'])
def save(request, tmp_path):
    """Write a checkpoint in a form of torch's, and give its path."""

    def save(content) -> str:
        path = str(tmp_path / 'file.pth')
        torch.save(content, path, _use_new_zipfile_serialization=request.param)
        return path

    return save


def test_sound_file(save):
    content = sound()
    read = read_checkpoint(save(content))
    assert read['meta'] == content['meta']
    for name, value in content['state_dict'].items():
        assert torch.equal(read['state_dict'][name], value)
    assert read['optimizer']['state'][0]['step'] == 3
    buffer = read['message_hub']['log_scalars']['loss']
    assert buffer.mean() == 2
    assert buffer.max(window_size=2) == 4
    assert read['bfloat16'].dtype == torch.bfloat16
    assert isinstance(read['parameter'], torch.nn.Parameter)
    assert read['random']['python'] == content['random']['python']
    assert (read['random']['numpy'][1] == content['random']['numpy'][1]).all()
    assert torch.equal(read['random']['torch'], content['random']['torch'])
    assert read['other'] == content['other']


def test_bare_weights_and_config_as_code(save):
    weights = torch.nn.Linear(2, 3).state_dict()
    assert list(read_checkpoint(save(weights))) == ['weight', 'bias']
    meta = read_checkpoint(save(dict(meta=dict(config='import os', epoch=2))))['meta']
    assert meta == dict(epoch=2)


def _canary(path: Path) -> str:
    return f"open({str(path)!r}, 'w').close()"


HOSTILE = {
    'os.system': lambda c: Call(os.system, f'touch {c}'),
    'eval': lambda c: Call(eval, _canary(c)),
    'exec': lambda c: Call(exec, _canary(c)),
    'popen': lambda c: Call(subprocess.Popen, ['touch', str(c)]),
    'open': lambda c: Call(open, str(c), 'w'),
    'import': lambda c: Call(__import__, 'antigravity'),
    'getattr': lambda c: Call(getattr, HistoryBuffer, '__init_subclass__'),
    'getattr of a name': lambda c: Call(getattr, 'text', 'format'),
    'torch.load': lambda c: Call(torch.load, str(c)),
    'torch.hub': lambda c: Call(torch.hub.load, 'x/y', 'z'),
    'bytearray': lambda c: Call(bytearray, 10**12),
    'ndarray': lambda c: Call(np.ndarray, (10**11,), 'f8'),
    'tensor': lambda c: Call(torch.Tensor, 10**11),
    'in weights': lambda c: dict(state_dict=dict(w=Call(os.system, f'touch {c}'))),
    'in meta': lambda c: dict(meta=Call(os.system, f'touch {c}'), state_dict={}),
    'module': lambda c: torch.nn.Linear(2, 2),
    'sparse': lambda c: dict(state_dict=dict(w=torch.eye(3).to_sparse())),
    'expanded': lambda c: dict(state_dict=dict(w=torch.ones(1).expand(10**6, 10**6))),
    'list': lambda c: [1],
    'tensor alone': lambda c: torch.ones(2),
    'none': lambda c: None,
}


@pytest.mark.parametrize('name', ['model.onnx', 'model.PT2'])
def test_exported_model(name, tmp_path):
    (tmp_path / name).write_bytes(b'\x08\x0a')
    with pytest.raises(ValueError, match='an exported model.*Use the checkpoint'):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_file(name, save, tmp_path):
    canary = tmp_path / 'canary'
    path = save(HOSTILE[name](canary))
    with pytest.raises(
        ValueError, match=r'file\.pth cannot be used as a checkpoint: .'
    ):
        read_checkpoint(path)
    assert not canary.exists()
    # The loader of MMEngine goes the same way, with no way around it.
    with pytest.raises(
        ValueError, match=r'file\.pth cannot be used as a checkpoint: .'
    ):
        CheckpointLoader.load_checkpoint(path)
    assert not canary.exists()


def test_name_is_told(save):
    path = save(Call(os.system, 'true'))
    with pytest.raises(
        ValueError, match=r"refers to 'posix\.system'.*allow_unsafe=True"
    ):
        read_checkpoint(path)


def test_unsafe_on_request(save, tmp_path):
    canary = tmp_path / 'canary'
    path = save(dict(state_dict=Call(eval, f'dict(x={_canary(canary)})')))
    assert read_checkpoint(path, allow_unsafe=True) == dict(state_dict=dict(x=None))
    assert canary.exists()


def _zip(name='x/data.pkl', content=b'', how=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', how) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@functools.cache
def _sound_bytes(legacy: bool = False) -> bytes:
    # Made once: the legacy form names storages by their addresses, so that two writes
    # differ in length.
    buffer = io.BytesIO()
    torch.save(sound(), buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def _flipped() -> bytes:
    data = bytearray(_sound_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        record = next(r for r in archive.infolist() if r.filename.endswith('data/0'))
    name, extra = struct.unpack_from('<HH', data, record.header_offset + 26)
    data[record.header_offset + 30 + name + extra] ^= 1
    return bytes(data)


DAMAGED = {
    'empty': (b'', 'file is empty'),
    'text': (b'hello', 'exhausted'),
    'html': (b'<!DOCTYPE html><html>404</html>', r'.'),
    'pickle': (pickle.dumps(Call(os.system, 'true')), 'may run code'),
    'plain pickle': (pickle.dumps(dict(a=1), 2), 'torch.save has not written it'),
    'zip of others': (_zip('a.txt', b'hello'), 'torch.save has not written it'),
    'bomb': (_zip(content=b'0' * 10**7, how=zipfile.ZIP_DEFLATED), 'compressed'),
    'cut zip': (_sound_bytes()[:9000], 'not a zip file'),
    'cut legacy': (_sound_bytes(legacy=True)[:900], r'.'),
    'cut storage': (_sound_bytes(legacy=True)[:-20], r'.'),
    'flipped bit': (_flipped(), 'wrong checksum'),
    'zeros': (bytes(10**6), r'.'),
    'huge string': (b'\x80\x02X' + struct.pack('<I', 2**31 - 1), r'.'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_file(name, tmp_path):
    content, message = DAMAGED[name]
    path = tmp_path / 'file.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'file\.pth cannot be used.*{message}'):
        read_checkpoint(path)


def test_storage_larger_than_its_record(tmp_path):
    """A pickle that declares more values than the record holds reads no memory."""
    buffer = io.BytesIO()
    torch.save(dict(state_dict=dict(w=torch.ones(1000))), buffer)
    path = tmp_path / 'file.pth'
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as target,
    ):
        for record in source.infolist():
            data = source.read(record)
            if record.filename.endswith('/data/0'):
                data = data[:40]
            target.writestr(record.filename, data)
    with pytest.raises(ValueError, match=r'file\.pth cannot be used'):
        read_checkpoint(path)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='the system has no pipes')
def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ValueError, match='expected a file, got a named pipe'):
        read_checkpoint(tmp_path / 'pipe')
    with pytest.raises(ValueError, match='expected a file, got a folder'):
        read_checkpoint(tmp_path)
    with pytest.raises(ValueError, match='expected a file, got a device'):
        read_checkpoint(os.devnull)
    with pytest.raises(FileNotFoundError, match='nowhere.pth does not exist'):
        read_checkpoint(tmp_path / 'nowhere.pth')


@pytest.mark.parametrize(
    ('start', 'call'),
    [
        (b']q\x01(' + b'K\x01' * 1000 + b'e', b'c__builtin__\nset\nh\x01\x85R'),
        (b'(' + b'K\x01' * 1000 + b'tq\x01', b'ctorch\nSize\nh\x01\x85R'),
        (
            b'}q\x01(' + b''.join(b'U\x03%03dN' % n for n in range(1000)) + b'u',
            b'ccollections\nOrderedDict\n)Rh\x01b',
        ),
    ],
)
def test_copies(start, call, monkeypatch):
    """A list that is copied again and again would fill the memory."""
    monkeypatch.setattr(safe_checkpoint, 'MAX_OPERATIONS', 10_000)
    _check_copies(b'\x80\x02' + start + call * 3 + b'.')
    with pytest.raises(ValueError, match='copies far more than it holds'):
        _check_copies(b'\x80\x02' + start + call * 30 + b'.')


def test_copies_of_text(monkeypatch):
    monkeypatch.setattr(safe_checkpoint, 'MAX_OPERATIONS', 100)
    text = b'X\x00\x01\x00\x00' + b'a' * 256 + b'q\x01'
    call = b'c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R'
    _check_copies(b'\x80\x02' + text + call + b'.')
    with pytest.raises(ValueError, match='copies far more than it holds'):
        _check_copies(b'\x80\x02' + text + call * 100 + b'.')


def test_allowed_names_are_few():
    """A name that is added here must be looked at for what a file can do with it."""
    names = {name for name in ALLOWED if not name.startswith('torch.')}
    assert names == {
        '_codecs.encode',
        'collections.Counter',
        'builtins.getattr',
        'builtins.set',
        'builtins.slice',
        'collections.OrderedDict',
        'mmengine.logging.history_buffer.HistoryBuffer',
        'numpy._core.multiarray._reconstruct',
        'numpy._core.multiarray.scalar',
        'numpy.core.multiarray._reconstruct',
        'numpy.core.multiarray.scalar',
        'numpy.dtype',
        'numpy.ndarray',
    }
    assert not any(map(_is_call, (n for n in ALLOWED if n.startswith('torch.'))))


def _is_call(name: str) -> bool:
    return 'load' in name or 'hub' in name or 'jit' in name


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_bytes_never_end_otherwise(data):
    """Whatever bytes are changed, the file is read or refused with one message."""
    content = bytearray(_sound_bytes(data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = Path(os.environ.get('TMPDIR', '/tmp')) / f'mlcl_fuzz_{os.getpid()}.pth'
    try:
        path.write_bytes(content)
        read_checkpoint(path)
        text = None
    except ValueError as error:
        text = str(error)
    finally:
        path.unlink()
    assert text is None or 'cannot be used as a checkpoint' in text


def test_pickletools_and_torch_agree(save):
    """Names are listed by pickletools as torch's reader understands them."""
    path = save(sound())
    with open(path, 'rb') as file:
        if file.read(2) == b'PK':
            with zipfile.ZipFile(path) as archive:
                data = archive.read('file/data.pkl')
            found = [o.name for o, _, _ in pickletools.genops(data)]
            assert found.count('GLOBAL') > 5
