# SPDX-License-Identifier: Apache-2.0
"""Read pickles of scores without running code of the file.

Unpickling calls whatever functions a file names. This reader knows the few names that
files of MMEngine's ``DumpResults`` hold, tensors in dicts or data samples, and has
functions of its own for them. Any other name is an error.
"""

import io
import pickle
import pickletools
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    'torch FloatStorage': torch.float32,
    'torch DoubleStorage': torch.float64,
    'torch HalfStorage': torch.float16,
    'torch BFloat16Storage': torch.bfloat16,
    'torch LongStorage': torch.int64,
    'torch IntStorage': torch.int32,
    'torch ShortStorage': torch.int16,
    'torch CharStorage': torch.int8,
    'torch ByteStorage': torch.uint8,
    'torch BoolStorage': torch.bool,
}
# How torch writes a storage: these pickles, the number of values, and the values.
STORAGE_PICKLES = 5


def load_samples(content: bytes) -> Any:
    """Read a pickle of lists, dicts, data samples, tensors, numbers and text.

    Args:
        content (bytes): The pickle.

    Returns:
        Any: What it holds; data samples as dicts of their fields.

    Raises:
        ValueError: If it is no pickle, is damaged, or names anything else.
    """
    try:
        return _Reader(io.BytesIO(content)).load()
    # Damaged pickles raise nearly anything.
    except Exception as error:
        text = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(f'it cannot be read as a pickle of scores: {text:.300}') from (
            error
        )


class _Sample(dict):
    """Stands for a data sample: a dict of its fields."""

    def __setstate__(self, state: Any) -> None:
        fields = {str(key): value for key, value in state.items()}
        self.update({k: v for k, v in fields.items() if not k.startswith('_')})


class _Call:
    """A function that a pickle may call, and not change."""

    __slots__ = ('_function',)
    _function: Callable

    def __init__(self, function: Callable) -> None:
        object.__setattr__(self, '_function', function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise ValueError('it changes a function')


def _read_storage(content: bytes) -> Tensor:
    """The values that torch wrote, ``(N,)``, without its unpickling."""
    stream = io.BytesIO(content)
    names: set[str] = set()
    for _ in range(STORAGE_PICKLES):
        for operation, value, _ in pickletools.genops(stream):
            if operation.name in ('GLOBAL', 'INST', 'STACK_GLOBAL'):
                names.add(str(value))
    if len(names) != 1 or not names <= set(DTYPES):
        raise ValueError(f'tensors of {sorted(names)!r:.100} are not read')
    dtype = DTYPES[names.pop()]
    start = stream.tell() + 8
    (number,) = struct.unpack('<q', content[start - 8 : start])
    if number == 0:
        return torch.zeros(0, dtype=dtype)
    return torch.frombuffer(
        bytearray(content[start:]), dtype=dtype, count=number
    ).clone()


def _rebuild_tensor(
    values: Tensor, offset: int, size: tuple, stride: tuple, *_: Any
) -> Tensor:
    number = 1
    for side in size:
        number *= side
    # A stride of 0 would make a tensor of any size out of one value.
    if not isinstance(values, Tensor) or number > len(values):
        raise ValueError(
            f'a tensor of the shape {tuple(size)} is larger than its values'
        )
    return torch.as_strided(values, size, stride, offset).clone()


def _encode(text: str, encoding: str) -> bytes:
    """How old protocols write bytes."""
    if encoding != 'latin1':
        raise ValueError(f'bytes in {encoding!r:.40} are not read')
    return text.encode('latin1')


NAMES: dict[str, Any] = {
    '_codecs encode': _Call(_encode),
    'builtins set': set,
    '__builtin__ set': set,
    'collections OrderedDict': OrderedDict,
    'mmengine.structures.base_data_element BaseDataElement': _Sample,
    'mmpretrain.structures.data_sample DataSample': _Sample,
    'torch._utils _rebuild_parameter': _Call(lambda data, *_: data),
    'torch._utils _rebuild_tensor_v2': _Call(_rebuild_tensor),
    'torch.storage _load_from_bytes': _Call(_read_storage),
}
"""The names that a file may hold, and what each stands for here."""


# The reader in Python: that in C takes memory for numbers that a file only mentions.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return NAMES[f'{module} {name}']
        except KeyError:
            raise ValueError(
                f'it names {module:.100}.{name:.100}, which no file of scores needs '
                'and which may run code'
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError('it refers to data outside of it')
