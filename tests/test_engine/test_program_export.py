# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain.models.utils import ShiftWindowMSA
from torch import nn

from mlcl_plugin.engine.program_export import _join_windows, export_program


@pytest.mark.parametrize(('height', 'width', 'size'), [(4, 6, 2), (3, 3, 3), (6, 2, 1)])
def test_join_windows(height, width, size):
    """The same as MMPretrain's, which freezes the batch."""
    windows = torch.randn(2 * height * width // size**2, size, size, 5)
    expected = ShiftWindowMSA.window_reverse(windows, height, width, size)
    assert torch.equal(_join_windows(windows, height, width, size), expected)


def test_windows_of_any_batch():
    class Windows(nn.Module):
        def forward(self, images):
            maps = images.permute(0, 2, 3, 1)
            windows = ShiftWindowMSA.window_partition(maps, 2)
            return ShiftWindowMSA.window_reverse(windows, 4, 4, 2)

    original = ShiftWindowMSA.window_reverse
    program = export_program(Windows(), torch.randn(1, 3, 4, 4)).module()
    for batch in (1, 2, 5):
        images = torch.randn(batch, 3, 4, 4)
        assert torch.equal(program(images), images.permute(0, 2, 3, 1))
    assert ShiftWindowMSA.window_reverse is original


def test_error():
    class Branch(nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    with pytest.raises(ValueError, match='torch.export cannot export Branch'):
        export_program(Branch(), torch.randn(2, 3, 4, 4))


def test_activations_do_not_write_in_place():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU6(inplace=True), nn.ReLU()).eval()
    images = torch.randn(3, 3, 4, 4)
    program = export_program(module, images)
    names = [str(node.target) for node in program.graph.nodes if node.op != 'output']
    assert any('hardtanh' in name for name in names)
    assert [name for name in names if name.endswith('_.default')] == []
    assert [module[1].inplace, module[2].inplace] == [True, False]
    assert torch.equal(program.module()(images), module(images))
