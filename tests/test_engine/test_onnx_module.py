# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime in place of a module, and its graph for images of another size."""

import pytest
import torch
from torch import Tensor, nn

from mlcl_plugin.engine import onnx_module
from mlcl_plugin.engine.onnx_module import OnnxModule
from mlcl_plugin.errors import EngineError

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


class Network(nn.Module):
    """A convolution and a mean, which work at any size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).relu()


class SizeInGraph(Network):
    """What it computes depends on the size, which an export takes as a constant."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * images.shape[-1]


class SizeHidden(Network):
    """The size does not show in images whose values are small."""

    def forward(self, images: Tensor) -> Tensor:
        hidden = (images.mean((1, 2, 3), keepdim=True) - 1).relu()
        return super().forward(images) + hidden * images.shape[-1]


class SizeInShape(Network):
    """The graph for one size cannot run with another."""

    def forward(self, images: Tensor) -> Tensor:
        places = super().forward(images).flatten(2)
        return places + torch.arange(places.shape[-1])


def images(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(size))


def make(module: nn.Module, size: int, like: OnnxModule | None = None) -> OnnxModule:
    return OnnxModule(module.eval(), images(size), keep_graph=True, like=like)


def test_graph_serves_another_size_without_an_export(monkeypatch):
    module = Network()
    first = make(module, 16)

    def fail(*args, **kwargs):
        raise AssertionError('exported again')

    monkeypatch.setattr(onnx_module, 'write_onnx', fail)
    second = make(module, 24, like=first)
    # That of a resized graph serves, too.
    third = make(module, 32, like=second)
    for size, found in ((16, first), (24, second), (32, third)):
        torch.testing.assert_close(found(images(size))[0], module(images(size)))
    assert second.output_names == first.output_names


def test_a_graph_that_was_not_kept_is_exported_anew(monkeypatch):
    module = Network().eval()
    exports = []
    write = onnx_module.write_onnx
    monkeypatch.setattr(
        onnx_module, 'write_onnx', lambda *args: exports.append(write(*args))
    )
    first = OnnxModule(module, images(16))
    second = OnnxModule(module, images(24), like=first)
    assert len(exports) == 2
    torch.testing.assert_close(second(images(24))[0], module(images(24)))


@pytest.mark.parametrize('kind', [SizeInGraph, SizeHidden, SizeInShape])
def test_graph_that_depends_on_the_size_is_exported_anew(kind):
    module = kind()
    second = make(module, 24, like=make(module, 16))
    for batch in (images(24), 3 * images(24)):
        torch.testing.assert_close(second(batch)[0], module(batch))


def test_disagreement_is_an_error(monkeypatch):
    module = Network()
    first = make(module, 16)
    other = Network()
    monkeypatch.setattr(
        onnx_module,
        'write_onnx',
        lambda module, images, path, outputs: path.write_bytes(first.graph),
    )
    with pytest.raises(EngineError, match='differ by'):
        make(other, 16)


@pytest.mark.parametrize('error', [ValueError, RuntimeError, OSError])
def test_failed_export_is_an_engine_error(monkeypatch, error):
    """So that features are computed by torch."""

    def fail(*args):
        raise error('no graph')

    monkeypatch.setattr(onnx_module, 'write_onnx', fail)
    with pytest.raises(EngineError, match='cannot run Network: no graph'):
        make(Network(), 16)
