# SPDX-License-Identifier: Apache-2.0
"""Follow the computation of a module by ``torch.export``."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor, nn

IN_PLACE = (
    nn.ELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.SiLU,
)
"""Activations that may write into their input."""


def export_program(module: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """Export a module for batches of any size.

    Args:
        module (nn.Module): Takes images ``(B, C, H, W)`` and returns tensors. It is in
            evaluation mode.
        images (Tensor): ``(B, C, H, W)``, an example of any number of images.

    Returns:
        ExportedProgram: The program, for images of the size of the example.

    Raises:
        ValueError: If torch cannot export the module.
    """
    # A batch of one image would be taken for a constant.
    batch = images[:1].repeat(2, *[1] * (images.ndim - 1))
    try:
        with torch.no_grad(), _any_batch(), _out_of_place(module):
            return torch.export.export(
                module, (batch,), dynamic_shapes=({0: torch.export.Dim('batch')},)
            )
    # torch raises errors of many kinds for what it does not know.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ValueError(
            f'torch.export cannot export {type(module).__name__}: '
            f'{type(error).__name__}: {reason:.300}'
        ) from error


@contextmanager
def _out_of_place(module: nn.Module) -> Iterator[None]:
    """Let activations not write into their input, which gives the same values.

    The ONNX exporter takes several times as long to rewrite those that do.
    """
    changed = [m for m in module.modules() if isinstance(m, IN_PLACE) and m.inplace]
    for activation in changed:
        activation.inplace = False
    try:
        yield
    finally:
        for activation in changed:
            activation.inplace = True


@contextmanager
def _any_batch() -> Iterator[None]:
    """Let Swin Transformers not freeze the size of the batch.

    MMPretrain computes it by a division of real numbers.
    """
    original = ShiftWindowMSA.__dict__['window_reverse']
    ShiftWindowMSA.window_reverse = staticmethod(_join_windows)
    try:
        yield
    finally:
        ShiftWindowMSA.window_reverse = original


def _join_windows(windows: Tensor, height: int, width: int, size: int) -> Tensor:
    """Join windows ``(B * n, size, size, C)`` to maps ``(B, height, width, C)``."""
    rows, columns = height // size, width // size
    maps = windows.reshape(-1, rows, columns, size, size, windows.shape[-1])
    return maps.transpose(2, 3).reshape(-1, height, width, windows.shape[-1])
