# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class OpRecorder(TorchDispatchMode):
    """Names and results of all operations, those of the backward pass included."""

    def __init__(self):
        super().__init__()
        self.names, self.shapes, self.sizes = [], [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.append(func.overloadpacket.__name__)
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.shapes.append(tuple(tensor.shape))
                # What it takes in memory: views of one row may look large.
                self.sizes.append(tensor.untyped_storage().size() // tensor.itemsize)
        return result


@pytest.fixture
def record_ops():
    """A context manager that records operations, see :class:`OpRecorder`."""
    return OpRecorder
