# SPDX-License-Identifier: Apache-2.0
"""Weights in safetensors files, which hold nothing but numbers and text."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..runtime import INFO_KEY, ModelInfo


def is_safetensors(file: BinaryIO) -> bool:
    """Whether a file begins like safetensors: a length, and an object of JSON."""
    start = file.read(9)
    file.seek(0)
    # Only in the text of a header can a bracket follow a length that is this small.
    return len(start) == 9 and start[6:8] == b'\0\0' and start[8:] == b'{'


def read_safetensors(path: Path) -> dict:
    """Read a safetensors file as a checkpoint.

    Args:
        path (Path): The file.

    Returns:
        dict: ``state_dict``; where the file describes its model, also ``meta`` with
        ``dataset_meta``, and the :class:`ModelInfo` as ``'mlcl'``.

    Raises:
        CheckpointError: If its description of the model is wrong.
        ImportError: If the package safetensors is missing.
        ValueError: If the file is damaged.
    """
    safetensors = _import()
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f'it is damaged: {error}') from error
    checkpoint: dict = dict(state_dict=state)
    if INFO_KEY in metadata:
        try:
            info = ModelInfo.from_metadata(metadata, str(path))
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        meta = dict(classes=tuple(info.classes))
        checkpoint['meta'] = dict(dataset_meta=meta)
        # Not in meta, which may be saved with other weights.
        checkpoint[INFO_KEY] = info
    return checkpoint


def write_safetensors(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write weights and text.

    Args:
        path (Path): The file.
        state (Mapping[str, Tensor]): Weights by name.
        metadata (Mapping[str, str]): Text by key.

    Raises:
        ImportError: If the package safetensors is missing.
    """
    _import()
    from safetensors.torch import save_file

    # A copy of each, since the format refuses weights that share memory.
    copies = {
        name: value.detach().to('cpu', copy=True).contiguous()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    save_file(copies, path, {'format': 'pt', **metadata})


def _import():
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            'Files of this kind need the package safetensors, which is not installed. '
            "Install it with: pip install 'mlcl_plugin[export]'"
        ) from error
    return safetensors
