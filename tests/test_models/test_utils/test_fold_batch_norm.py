# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from mlcl_plugin.models.utils.fold_batch_norm import fold_batch_norm


class Net(nn.Module):
    """Convolutions whose batch norms can be folded, and one that cannot."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        )
        self.grouped = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4),
            nn.BatchNorm2d(8, affine=False),
        )
        self.shared = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.grouped(self.first(x).relu()).relu()
        y = self.shared(x)
        # Two parts read the convolution, so that it must stay.
        return (self.norm(y) + y,)


def make_net():
    torch.manual_seed(0)
    net = Net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.2, 3)
            if module.affine:
                nn.init.uniform_(module.weight, -2, 2)
                nn.init.uniform_(module.bias, -1, 1)
    return net.eval()


@pytest.mark.parametrize('number', [1, 3])
@torch.no_grad()
def test_same_outputs(number):
    net = make_net()
    folded = fold_batch_norm(net, torch.randn(1, 3, 12, 12))
    norms = [
        node
        for node in folded.graph.nodes
        if node.target is torch.ops.aten.batch_norm.default
    ]
    assert len(norms) == 1
    images = torch.randn(number, 3, 12, 12)
    torch.testing.assert_close(folded(images)[0], net(images)[0], rtol=1e-5, atol=1e-5)


def test_what_cannot_be_exported(caplog):
    class Counting(nn.Module):
        def forward(self, x):
            return (x * float(x.sum()),) if x.sum() > 0 else (x,)

    net = Counting()
    assert fold_batch_norm(net, torch.ones(1, 3, 4, 4)) is net
