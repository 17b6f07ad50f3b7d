# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from mlcl_plugin.engine import CheckedPretrainedInit
from mlcl_plugin.errors import CheckpointError, MissingCheckpointError


class Net(BaseModule):
    def __init__(self, **init):
        super().__init__(init_cfg=dict(type='Pretrained', **init))
        self.fc = nn.Linear(2, 3)
        self.other = nn.Linear(2, 1)


@pytest.fixture
def save(tmp_path):
    def call(**state):
        torch.save(dict(state_dict=state), tmp_path / 'w.pth')
        return str(tmp_path / 'w.pth')

    return call


def test_by_a_config(save):
    """MMEngine uses the class."""
    net = Net(checkpoint=save(**{'fc.weight': torch.full((3, 2), 7.0)}))
    before = net.other.weight.clone()
    net.init_weights()
    assert (net.fc.weight == 7).all()
    assert torch.equal(net.other.weight, before)


@pytest.mark.parametrize('prefix', ['net', 'net.'])
def test_prefix(save, prefix):
    path = save(**{'net.fc.bias': torch.full((3,), 7.0), 'fc.bias': torch.zeros(3)})
    net = Net(checkpoint=path, prefix=prefix)
    net.init_weights()
    assert (net.fc.bias == 7).all()


@pytest.mark.parametrize(
    ('state', 'options', 'message'),
    [
        ({'fc.bias': torch.full((3,), torch.nan)}, {}, "'fc.bias' has 3 of 3 values"),
        ({'fc.bias': torch.ones(3, dtype=torch.int32)}, {}, 'type torch.int32'),
        ({'fc.bias': [1.0] * 3}, {}, "'fc.bias' is a list"),
        ({'x': torch.ones(3)}, {}, "has none of the 4 weights .* It has 'x'"),
        ({'fc.bias': torch.ones(9)}, {}, 'has none of the 4 weights'),
        ({'fc.bias': torch.ones(3)}, {'prefix': 'net'}, "starts with prefix='net.'"),
    ],
)
def test_faults(save, state, options, message):
    net = Net(checkpoint=save(**state), **options)
    with pytest.raises(CheckpointError, match=rf'w\.pth .*{message}'):
        net.init_weights()


def test_no_file():
    with pytest.raises(MissingCheckpointError, match='gone.pth does not exist'):
        CheckedPretrainedInit('gone.pth')(nn.Linear(1, 1))
