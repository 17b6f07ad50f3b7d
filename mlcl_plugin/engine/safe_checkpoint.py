# SPDX-License-Identifier: Apache-2.0
"""Read checkpoints of strangers without running code.

A ``.pth`` file is a pickle, and unpickling runs whatever code the file names. torch's
``weights_only=True`` refuses most names, but MMEngine allows ``getattr`` with it, which
is enough to run code, and reads the file without any check if the safe way fails.

This module reads a file in three steps. It inspects the container, so that damage and
compressed records are found before memory is used. It lists the names that the pickle
refers to and compares them with :data:`ALLOWED`. Only then it lets torch read the file
with ``weights_only=True``.
"""

import io
import os
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from ..errors import CheckpointError
from .checkpoint_file import check_checkpoint
from .safetensors_file import is_safetensors, read_safetensors

MAX_PICKLE_BYTES = 2**28
"""Size of the largest pickle that is read; weights are stored outside of it."""
MAX_OPERATIONS = 2_000_000
"""Operations of the longest pickle that is read. A weight takes about 40."""

ZIP_START = b'PK\x03\x04'


def _history_statistic(buffer: Any, name: str) -> Any:
    """The one use of ``getattr`` in MMEngine's files: statistics of a log buffer."""
    if buffer is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise ValueError(f'getattr({buffer!r:.100}, {name!r:.100}) is not allowed')
    return getattr(HistoryBuffer, name)


class _Dtype:
    """Stands for ``numpy.dtype``, whose state a file must not set freely."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True):
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in 'biufcSU':
            raise ValueError(f'the numpy type {code!r:.100} is not allowed')

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that takes its content, but not its size or type, from a file."""

    def __new__(cls) -> '_Array':
        return super().__new__(cls, (0,), 'b')

    def __setstate__(self, state: tuple) -> None:
        *start, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise ValueError('an array of objects is not allowed')
        super().__setstate__((*start, dtype.dtype, fortran, data))

    def __reduce__(self) -> Any:
        return np.asarray(self).view(np.ndarray).__reduce__()


def _empty_array(kind: Any, shape: Any, dtype: Any) -> np.ndarray:
    """The only way in which numpy pickles arrays: empty, then filled by its state."""
    if kind is not _Array or tuple(shape) != (0,):
        raise ValueError(f'an array of shape {shape!r:.100} is not allowed')
    return _Array()


def _numpy_scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise ValueError(f'a numpy scalar of {dtype!r:.100} is not allowed')
    return np.frombuffer(data, dtype.dtype)[0]


_NUMPY = {
    f'{module}.multiarray.{name}': value
    for module in ('numpy.core', 'numpy._core')
    for name, value in (('_reconstruct', _empty_array), ('scalar', _numpy_scalar))
}

OWN: dict[str, Any] = {
    **_NUMPY,
    'numpy.ndarray': _Array,
    'numpy.dtype': _Dtype,
    'builtins.getattr': _history_statistic,
    'builtins.slice': slice,
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
}
"""Names beyond those that torch allows, with what each stands for here."""

ALLOWED = frozenset(
    {
        *OWN,
        '_codecs.encode',
        'builtins.set',
        # milestones of MultiStepLR
        'collections.Counter',
        'collections.OrderedDict',
        'torch.Size',
        'torch.device',
        'torch._utils._rebuild_parameter',
        'torch._utils._rebuild_tensor',
        'torch._utils._rebuild_tensor_v2',
        'torch.nn.parameter.Parameter',
        *(f'torch.{kind.__name__}' for kind in torch._storage_classes),
        *(
            str(value)
            for value in vars(torch).values()
            if isinstance(value, torch.dtype)
        ),
    }
)
"""Names that a checkpoint may refer to; none of them runs code of a file."""

KINDS_OF_WEIGHTS = {
    'torch._utils._rebuild_sparse_tensor': 'sparse tensors',
    'torch._utils._rebuild_qtensor': 'quantized tensors',
    'torch._utils._rebuild_nested_tensor': 'nested tensors',
    'torch._utils._rebuild_meta_tensor_no_storage': 'tensors without values',
}
"""Harmless names of weights that no model here has."""


def read_checkpoint(
    path: str | os.PathLike, map_location: Any = 'cpu', allow_unsafe: bool = False
) -> dict:
    """Read a checkpoint without running code of the file.

    Reads safetensors, and what MMEngine and ``torch.save`` write: weights, state of
    optimizer and schedulers, logs, numbers, text. Fields that hold a config as Python
    source (``meta['config']``) are left out: MMEngine executes them on a resume.

    Args:
        path (str | os.PathLike): A local file.
        map_location: As in :func:`torch.load`. Defaults to 'cpu'.
        allow_unsafe (bool): Unpickle the file without any check. The file may then run
            code. Defaults to False.

    Returns:
        dict: What the file holds: the checkpoint, or bare weights by name.

    Raises:
        MissingCheckpointError: If there is no such file.
        CheckpointError: If the file cannot be read, is damaged, refers to a name that
            is not in :data:`ALLOWED`, declares more data than it holds, or holds no
            dict.
        ImportError: If it is of safetensors, which is not installed.
    """
    path = check_checkpoint(Path(path).expanduser())
    if path.suffix.lower() in ('.onnx', '.pt2'):
        raise CheckpointError(
            f'{path} cannot be used as a checkpoint: it is an exported model. Use the '
            'checkpoint that it was made of, or run the file by mlcl_plugin.runtime '
            '(ONNX) or torch.export.load (pt2).'
        )
    try:
        with path.open('rb') as file:
            if is_safetensors(file):
                content = read_safetensors(path)
            elif allow_unsafe:
                content = torch.load(
                    file, map_location=map_location, weights_only=False
                )
            else:
                _check_names(_inspect(file))
                content = _load(file, map_location)
        if not isinstance(content, dict):
            raise ValueError(f'expected a dict, got {type(content).__name__}')
        _check_tensors(content)
    except CheckpointError:
        raise
    except _EXPECTED as error:
        text = str(error)
        if isinstance(error, OSError):
            text = error.strerror or text
        text = ' '.join(text.split()) or type(error).__name__
        raise CheckpointError(
            f'{path} cannot be used as a checkpoint: {text:.500}'
        ) from error
    meta = content.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)
    return content


# torch, pickletools and zipfile raise all of these for a damaged file.
_EXPECTED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    torch.serialization.pickle.UnpicklingError,
    zipfile.BadZipFile,
)


def _inspect(file: BinaryIO) -> list[bytes]:
    """Check the container and return its pickles.

    Raises:
        ValueError: If records are compressed, damaged, or too large.
    """
    start = file.read(len(ZIP_START))
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not start:
        raise ValueError('the file is empty')
    if start != ZIP_START:
        return _legacy_pickles(file, size)
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        for record in records:
            if record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f'its record {record.filename!r:.100} is compressed, which '
                    'torch.save never does'
                )
        if sum(record.file_size for record in records) > size:
            raise ValueError('its records overlap')
        names = [r for r in records if r.filename.split('/')[-1] == 'data.pkl']
        if len(names) != 1:
            raise ValueError('it is a zip file, but torch.save has not written it')
        if names[0].file_size > MAX_PICKLE_BYTES:
            raise ValueError(f'its pickle has {names[0].file_size:,} bytes')
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f'its record {damaged!r:.100} is damaged (wrong checksum)')
        pickles = [archive.read(names[0])]
    file.seek(0)
    return pickles


def _legacy_pickles(file: BinaryIO, size: int) -> list[bytes]:
    """The five pickles at the start of a file of torch before 1.6."""
    pickles = []
    start = 0
    for _ in range(5):
        for number, _operation in enumerate(pickletools.genops(file)):
            if number > MAX_OPERATIONS or file.tell() - start > MAX_PICKLE_BYTES:
                raise ValueError('its pickle is too large')
        end = file.tell()
        file.seek(start)
        pickles.append(file.read(end - start))
        start = end
        # The first one is a number that tells torch's files from others.
        if len(pickles) == 1 and b'l\xfc\x9cF\xf9 j\xa8P\x19' not in pickles[0]:
            _check_names(pickles)
            raise ValueError('torch.save has not written it')
    file.seek(0)
    return pickles


def _names(pickle: bytes) -> Iterator[str]:
    """Names that a pickle refers to, in the spelling of Python 3."""
    for number, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
        if number > MAX_OPERATIONS:
            raise ValueError('its pickle is too large')
        if operation.name in ('GLOBAL', 'INST'):
            module, _, name = str(argument).partition(' ')
            if module in ('__builtin__', 'copy_reg'):
                module = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}[module]
            yield f'{module}.{name}'
        elif operation.name in ('STACK_GLOBAL', 'EXT1', 'EXT2', 'EXT4'):
            yield f'a name by {operation.name}'


def _check_encodings(pickle: bytes) -> None:
    """Raise if ``_codecs.encode`` does something else than to turn text into bytes.

    Pickles of Python 3 use it for bytes, as latin1. Other encodings make large results
    of small ones. A pickle has no loops, so its memory is known at each operation.
    """
    memory: dict[Any, str] = {}
    last = ''
    expected: list[tuple[str, ...]] = []
    for operation, argument, _ in pickletools.genops(pickle):
        name = operation.name
        if name in ('BINPUT', 'LONG_BINPUT'):
            memory[argument] = last if last in ('encode', 'latin1', 'text') else ''
            continue
        if name in ('BINGET', 'LONG_BINGET'):
            last = memory.get(argument, '')
        elif name == 'GLOBAL' and argument == '_codecs encode':
            last = 'encode'
        elif name == 'BINUNICODE':
            last = 'latin1' if argument == 'latin1' else 'text'
        else:
            last = name
        if expected:
            if last not in expected.pop(0):
                raise ValueError('it encodes text in a way that weights do not need')
        elif last == 'encode':
            text = ('text', 'latin1')
            expected = [text, ('latin1',), ('TUPLE2',), ('REDUCE',)]


class _Value:
    """What a pickle has on its stack: how much it holds, and the parts of a tuple."""

    __slots__ = ('parts', 'size')

    def __init__(self, size: int, parts: Iterable['_Value'] = ()) -> None:
        self.size = size
        self.parts = tuple(parts)

    def copied(self) -> int:
        """What a call takes that gets this as its arguments or state."""
        return self.size + sum(part.size for part in self.parts)


def _check_copies(pickle: bytes) -> None:
    """Raise if calls copy far more than the pickle holds.

    A pickle can refer to a list by two bytes, and sets, dicts and arrays copy what they
    are made from. The size of a value is its number of parts, or of 32 bytes of text.
    """
    left = MAX_OPERATIONS + len(pickle) // 16
    stack: list[_Value] = []
    marks: list[int] = []
    memory: dict[Any, _Value] = {}

    def since_mark() -> list[_Value]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    for operation, argument, _ in pickletools.genops(pickle):
        name = operation.name
        if name == 'MARK':
            marks.append(len(stack))
        elif name in ('BINPUT', 'LONG_BINPUT', 'PUT'):
            memory[argument] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET', 'GET'):
            stack.append(memory[argument])
        elif name in ('APPEND', 'SETITEM'):
            del stack[-1 if name == 'APPEND' else -2 :]
            stack[-1].size += 1
        elif name in ('APPENDS', 'SETITEMS', 'ADDITEMS'):
            number = len(since_mark())
            stack[-1].size += number
        elif name == 'TUPLE':
            parts = since_mark()
            stack.append(_Value(len(parts), parts))
        elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
            number = int(name[-1])
            parts = stack[-number:]
            del stack[-number:]
            stack.append(_Value(number, parts))
        elif name in ('REDUCE', 'NEWOBJ', 'BUILD'):
            copied = stack.pop().copied()
            left -= copied
            if left < 0:
                raise ValueError('it copies far more than it holds')
            if name == 'BUILD':
                stack[-1].size += copied
            else:
                stack[-1] = _Value(copied)
        elif name == 'BINPERSID':
            stack[-1] = _Value(1)
        elif not operation.stack_before and len(operation.stack_after) == 1:
            text = argument if isinstance(argument, (str, bytes)) else None
            stack.append(_Value(0 if text is None else 1 + len(text) // 32))
        elif name not in ('PROTO', 'FRAME', 'STOP'):
            raise ValueError(f'its pickle has the operation {name}')


def _check_names(pickles: list[bytes]) -> None:
    for pickle in pickles:
        encodes = False
        for name in _names(pickle):
            encodes = encodes or name == '_codecs.encode'
            if name in KINDS_OF_WEIGHTS:
                raise ValueError(
                    f'it holds {KINDS_OF_WEIGHTS[name]}, expected dense tensors'
                )
            if name not in ALLOWED:
                raise ValueError(
                    f'it refers to {name!r:.100}, which weights do not need and which '
                    'may run code. Load it only if you trust its author: set '
                    'allow_unsafe=True.'
                )
        if encodes:
            _check_encodings(pickle)
        try:
            _check_copies(pickle)
        except LookupError as error:
            raise ValueError('its pickle is damaged') from error


def _load(file: BinaryIO, map_location: Any) -> Any:
    pairs: list[Any] = [(value, name) for name, value in OWN.items()]
    # Whatever other code allows is not allowed here.
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals(pairs), warnings.catch_warnings():
            # Of the protocol of the pickle: what cannot be read is an error anyway.
            warnings.simplefilter('ignore', UserWarning)
            return torch.load(file, map_location=map_location, weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _check_tensors(content: object) -> None:
    """Raise if a tensor declares more values than the file holds for it."""
    seen: set[int] = set()
    stack = [('', content)]
    while stack:
        name, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided or value.is_quantized:
                raise ValueError(f'{name} is {value.layout}, expected a dense tensor')
            stored = value.untyped_storage().nbytes()
            if value.numel() * value.element_size() > stored:
                raise ValueError(
                    f'{name} declares {value.numel():,} values, but the file holds '
                    f'{stored:,} bytes for it'
                )
        elif isinstance(value, dict):
            # Modules leave '_metadata' at their weights.
            if isinstance(value, OrderedDict) and set(vars(value)) - {'_metadata'}:
                raise ValueError(f'a dict has attributes: {list(vars(value))!r:.100}')
            stack += [(f'{name}.{key}'.lstrip('.'), x) for key, x in value.items()]
        elif isinstance(value, (list, tuple, set)):
            stack += [(f'{name}[{index}]', x) for index, x in enumerate(value)]


def names_not_allowed(path: str | os.PathLike) -> list[str]:
    """Names in a sound checkpoint that :func:`read_checkpoint` would refuse.

    Args:
        path (str | os.PathLike): A file that ``torch.save`` has written as a zip file.

    Returns:
        list[str]: Different names in alphabetical order.

    Raises:
        ValueError: If the file has more operations than are read.
    """
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.split('/')[-1] == 'data.pkl']
        found = {name for n in names for name in _names(archive.read(n))}
    return sorted(found - ALLOWED)
