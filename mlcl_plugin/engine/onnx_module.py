# SPDX-License-Identifier: Apache-2.0
"""Compute what a module gives by ONNX Runtime, which is faster on a CPU."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import EngineError
from .onnx_graph import require_packages, write_onnx

TOLERANCE = 1e-4
"""Greatest difference to torch, as a share of the greatest value, but of at least 1."""


class OnnxModule:
    """A module on the CPU whose outputs ONNX Runtime computes.

    The module is exported for images of one size, and batches of any number. What ONNX
    Runtime gives for the example is compared with torch.

    Args:
        module (nn.Module): Takes images ``(B, C, H, W)`` and returns a tensor, or a
            tuple of tensors, whose first size is B. It is in evaluation mode.
        images (Tensor): ``(B, C, H, W)``, real images to compare with torch.
        outputs (Sequence[str]): What to call the tensors that the module returns.
        spin (bool): Whether idle threads wait actively. It is faster where nothing else
            runs, and slows down other processes of the machine. Defaults to False.
        keep_graph (bool): Whether the graph stays in memory for others to be ``like``
            this one. It takes as much as the weights. Defaults to False.
        like (OnnxModule, optional): One of the same module for another size, with
            ``keep_graph``. Its graph is taken if it agrees with torch at this size,
            too, as that of a convolutional network does. To export takes far longer.
            Defaults to None.

    Attributes:
        graph (bytes, optional): The content of the ONNX file, with ``keep_graph``.

    Raises:
        ImportError: If a package is missing.
        EngineError: If the module cannot be exported, or ONNX Runtime and torch differ
            by more than :data:`TOLERANCE`.
    """

    def __init__(
        self,
        module: nn.Module,
        images: Tensor,
        outputs: Sequence[str] = ('output',),
        spin: bool = False,
        keep_graph: bool = False,
        like: 'OnnxModule | None' = None,
    ):
        require_packages()
        self._keep_graph = keep_graph
        self.graph: bytes | None = None
        if like is not None and like.graph is not None:
            try:
                self._open(_with_size(like.graph, images), module, spin)
                self._check(module, images)
                # Values that another size would show in may be hidden in one batch.
                self._check(module, 2 * images + 1)
                return
            except EngineError:
                # The graph depends on the size.
                pass
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'model.onnx'
            try:
                write_onnx(module, images, path, outputs)
                content = path.read_bytes()
            # torch's export runs the module and may raise anything; without ONNX
            # Runtime, torch computes the features.
            except Exception as error:
                raise _cannot_run(module, error) from error
        self._open(content, module, spin)
        self._check(module, images)

    def _open(self, content: bytes, module: nn.Module, spin: bool) -> None:
        """Make the session.

        Raises:
            EngineError: If ONNX Runtime does not take the graph.
        """
        # The package is an extra.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry(
            'session.intra_op.allow_spinning', str(int(spin))
        )
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=['CPUExecutionProvider']
            )
        # ONNX Runtime's errors have no class that is part of its interface.
        except Exception as error:
            raise _cannot_run(module, error) from error
        if self._keep_graph:
            self.graph = content

    @property
    def output_names(self) -> list[str]:
        """list[str]: The names of the outputs."""
        return [output.name for output in self._session.get_outputs()]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Compute the outputs for a batch of images ``(B, C, H, W)``."""
        feed = {self._session.get_inputs()[0].name: images.contiguous().numpy()}
        return [torch.from_numpy(value) for value in self._session.run(None, feed)]

    @torch.no_grad()
    def _check(self, module: nn.Module, images: Tensor) -> None:
        """Compare with torch.

        Raises:
            EngineError: If they differ.
        """
        expected = module(images)
        if isinstance(expected, Tensor):
            expected = (expected,)
        try:
            found = self(images)
        # A graph for another size may end anywhere.
        except Exception as error:
            raise _cannot_run(module, error) from error
        for name, one, two in zip(self.output_names, found, expected):
            if one.shape != two.shape:
                raise EngineError(
                    f'ONNX Runtime gives {tuple(one.shape)} in {name} of '
                    f'{type(module).__name__}, expected {tuple(two.shape)} as by torch'
                )
            difference = float(np.abs(one.numpy() - two.numpy()).max())
            largest = max(1.0, float(two.abs().max()))
            # Written so that nan fails too.
            if not difference <= TOLERANCE * largest:
                raise EngineError(
                    f'ONNX Runtime and torch differ by {difference:.2g} in {name} of '
                    f'{type(module).__name__}, expected at most '
                    f'{TOLERANCE * largest:.2g}'
                )


def _cannot_run(module: nn.Module, error: Exception) -> EngineError:
    reason = ' '.join(str(error).split())
    return EngineError(
        f'ONNX Runtime cannot run {type(module).__name__}: {reason:.400}'
    )


def _with_size(content: bytes, images: Tensor) -> bytes:
    """The graph of an ONNX file for images of another size."""
    # The package is an extra.
    import onnx

    model = onnx.load_from_string(content)
    sizes = model.graph.input[0].type.tensor_type.shape.dim[2:]
    for dim, size in zip(sizes, images.shape[2:]):
        dim.dim_value = size
    # Shapes of all that follows are those of the size before.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField('shape')
    return model.SerializeToString()
