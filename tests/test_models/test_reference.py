# SPDX-License-Identifier: Apache-2.0
"""The whole label-wise part against tensors of the authors' implementation.

``tests/data/mulcon_reference.npz`` holds inputs, random weights and outputs of the
published method in float64.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mlcl_plugin.models import LabelAttentionNeck, LabelWiseClsHead

DATA = Path(__file__).parents[1] / 'data' / 'mulcon_reference.npz'
BLOCK = dict(
    query_proj='fc_q',
    key_proj='fc_k',
    value_proj='fc_v',
    out_proj='fc_o',
    norm0='ln0',
    norm1='ln1',
)


def reference_name(name):
    """Our parameter name to the reference's."""
    if name == 'queries':
        return 'netA.I'
    module, _, rest = name.rpartition('.')
    block, _, layer = module.rpartition('.')
    block = {
        'blocks_before.0': 'sab1.mab',
        'blocks_before.1': 'sab2.mab',
        'label_attention': 'mab',
        'blocks_after.0': 'sab3.mab',
    }[block]
    return f'netA.{block}.{BLOCK[layer]}.{rest}'


@pytest.fixture(scope='module')
def reference():
    return {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(DATA).items()}


@pytest.fixture
def model(reference):
    num_labels = reference['labels'].size(1)
    neck = LabelAttentionNeck(
        num_classes=num_labels,
        in_channels=reference['x'].size(1),
        embed_dims=reference['embeddings'].size(2),
        num_heads=int(reference['num_heads']),
    ).double()
    head = LabelWiseClsHead(
        num_classes=num_labels,
        in_channels=reference['embeddings'].size(2),
        loss_contrastive=dict(
            type='LabelWiseContrastiveLoss',
            temperature=float(reference['temperature']),
            loss_weight=0.1,
        ),
        projector=dict(out_channels=reference['projections'].size(2)),
    ).double()
    with torch.no_grad():
        for name, parameter in neck.named_parameters():
            parameter.copy_(reference[f'weights/{reference_name(name)}'])
        for label in range(num_labels):
            head.classifier.weight[label] = reference[f'weights/netC.{label}.weight'][0]
            head.classifier.bias[label] = reference[f'weights/netC.{label}.bias'][0]
        for ours, theirs in (('fc1', '0'), ('fc2', '2')):
            layer = getattr(head.projector, ours)
            layer.weight.copy_(reference[f'weights/netP.{theirs}.weight'])
            layer.bias.copy_(reference[f'weights/netP.{theirs}.bias'])
    return neck, head


def assert_equal(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def samples(labels):
    return [DataSample().set_gt_score(row.double()) for row in labels]


def test_forward(reference, model):
    neck, head = model
    (fused,) = neck(reference['x'])
    assert_equal(fused, reference['embeddings'])
    embeddings, attention = neck((reference['x'],), return_attention=True)
    assert_equal(embeddings, reference['embeddings'])
    assert_equal(
        attention.flatten(3), reference['attention'].transpose(0, 1).contiguous()
    )
    assert_equal(head((fused,)), reference['logits'])
    assert_equal(head.projector(fused), reference['projections'])


def test_losses_and_gradients(reference, model):
    neck, head = model
    x = reference['x'].clone().requires_grad_()
    losses = head.loss(neck(x), samples(reference['labels']))
    assert_equal(losses['loss_cls'], reference['loss_bce'])
    assert_equal(losses['loss_contrastive'], 0.1 * reference['loss_contrastive'])
    total = sum(losses.values())
    assert_equal(total, reference['loss_total_with_weight_0.1'])

    total.backward()
    assert_equal(x.grad, reference['grad_x'])
    checked = set()
    for name, parameter in neck.named_parameters():
        key = f'grad/{reference_name(name)}'
        assert_equal(parameter.grad, reference[key])
        checked.add(key)
    for ours, theirs in (('fc1', '0'), ('fc2', '2')):
        for kind in ('weight', 'bias'):
            parameter = getattr(getattr(head.projector, ours), kind)
            key = f'grad/netP.{theirs}.{kind}'
            assert_equal(parameter.grad, reference[key])
            checked.add(key)
    assert checked == {key for key in reference if key.startswith('grad/')}
