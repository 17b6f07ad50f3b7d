# SPDX-License-Identifier: Apache-2.0
"""Write the computation of a module as an ONNX file."""

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .program_export import export_program

NEEDED = ('onnx', 'onnxscript', 'onnxruntime')
"""Packages of the extra ``export``."""


def missing_packages() -> list[str]:
    """Packages that exporting to ONNX, and running it, still needs."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def require_packages() -> None:
    """Raise an ImportError that names the extra, unless ONNX can be used."""
    missing = missing_packages()
    if missing:
        raise ImportError(
            f'ONNX needs the package(s) {", ".join(missing)}, which are not installed. '
            "Install them with: pip install 'mlcl_plugin[export]'"
        )


def write_onnx(
    module: nn.Module,
    images: Tensor,
    path: str | os.PathLike,
    outputs: Sequence[str],
) -> None:
    """Write a module in evaluation mode as an ONNX file for batches of any size.

    Args:
        module (nn.Module): Takes images ``(B, C, H, W)`` and returns a tensor, or a
            tuple of tensors, whose first size is B. It is on the CPU.
        images (Tensor): ``(B, C, H, W)``, an example of any number of images. The file
            is for images of this size.
        path (str | os.PathLike): The file. Its input is called ``images``.
        outputs (Sequence[str]): What to call the tensors that the module returns.

    Raises:
        ImportError: If a package is missing.
        ValueError: If torch cannot export the module.
    """
    require_packages()
    exported = export_program(module, images)
    try:
        with _quiet():
            program = torch.onnx.export(
                exported,
                dynamo=True,
                input_names=['images'],
                output_names=list(outputs),
                external_data=False,
                verbose=False,
            )
            if program is None:
                raise RuntimeError('there is no graph')
            program.save(os.fspath(path), external_data=False)
    # The exporter raises errors of many kinds for what it does not know.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ValueError(
            f'torch cannot export {type(module).__name__} to ONNX: '
            f'{type(error).__name__}: {reason:.300}'
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence notes of the exporter, which are about its own code."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript')]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
