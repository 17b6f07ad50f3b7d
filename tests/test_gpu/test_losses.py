# SPDX-License-Identifier: Apache-2.0
"""Every registered loss: value and gradient, also of half precision under autocast."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from mlcl_plugin.models import losses
from mlcl_plugin.models.losses import ContrastInputs, Memory, Projections

from .agreement import assert_near

B, L, P = 8, 5, 6
TOLERANCE = 1e-4
"""As a fraction of the largest value; of half precision, too, as losses compute in
float32."""


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def contrast(loss, z, targets):
    """A loss of embeddings of labels, or of images, by what a head hands to it."""
    projections = Projections(
        images=lambda: z[:, 0], labels=lambda images, labels: z[images, labels]
    )
    return loss.contrast(ContrastInputs(targets, draw(B, L).to(z), projections))


def classify(loss, z, targets):
    return loss(z[..., 0], targets.clamp(min=0))


def mixture(loss, z, targets):
    image, means = z[:, 0], z[0]
    return loss(image, 0.5 * image, 0.1 * image, means, 0.1 * means, targets)


def kernels(loss, z, targets):
    return loss(z[..., 0], z[..., 1].float().exp(), targets, P)


def reconstruct(loss, z, targets):
    return loss(z[:, 0], z[..., 2], z[..., 0], z[..., 1].float().exp(), targets)


def label_vectors(loss, z, targets):
    return loss(z[:, 0], z[0].t(), targets)


def prototypes(loss, z, targets):
    return loss(z, z[0], targets)


def memory(kind):
    return dict(type=kind, size=16, embed_dims=P, num_classes=L)


CASES = {
    'asymmetric': ('StableAsymmetricLoss', {}, classify),
    'binary cross-entropy': (
        'BinaryCrossEntropyLoss',
        dict(label_smoothing=0.1, pos_weight=[2.0] * L),
        classify,
    ),
    'Gaussian mixture': ('GaussianMixtureKLLoss', {}, mixture),
    'image level': ('ImageLevelContrastiveLoss', dict(rule='mulsupcon'), contrast),
    'image level, memory': (
        'ImageLevelContrastiveLoss',
        dict(memory=memory('ImageEmbeddingMemory')),
        contrast,
    ),
    'kernels': ('KernelContrastiveLoss', {}, kernels),
    'kernel reconstruction': ('KernelReconstructionLoss', {}, reconstruct),
    'label embeddings': ('LabelEmbeddingContrastiveLoss', {}, label_vectors),
    'label-wise': ('LabelWiseContrastiveLoss', {}, contrast),
    'label-wise, memory': (
        'LabelWiseContrastiveLoss',
        dict(memory=memory('EmbeddingMemory')),
        contrast,
    ),
    'neighbour vote': ('NeighbourVoteLoss', {}, contrast),
    'neighbour vote, memory': (
        'NeighbourVoteLoss',
        dict(memory=memory('KnownLabelMemory')),
        contrast,
    ),
    'prototypes': ('PrototypeContrastiveLoss', {}, prototypes),
    'within a label': ('WithinLabelContrastiveLoss', {}, contrast),
}


def test_no_loss_is_left_out():
    registered = {
        name
        for name, kind in MODELS.module_dict.items()
        if kind.__module__.startswith(losses.__name__)
        and issubclass(kind, nn.Module)
        and not issubclass(kind, Memory)
    }
    assert registered == {name for name, _, _ in CASES.values()}


def evaluate(case, device, dtype=torch.float32, rounded=torch.float32):
    """Losses and gradients of two calls: the second one finds a memory filled.

    The inputs are numbers that ``rounded`` holds.
    """
    name, options, call = CASES[case]
    loss = MODELS.build(dict(type=name, **options)).to(device)
    # 1 present, 0 absent, -1 unknown
    targets = (draw(B, L, seed=1) > 0.3).float()
    targets[2, 3] = -1
    if call in (mixture, prototypes, label_vectors):
        targets.abs_()
    found = []
    for seed in (0, 1):
        z = F.normalize(draw(B, L, P, seed=2 + seed), dim=-1).to(rounded)
        leaf = z.to(device, dtype).requires_grad_()
        value = call(loss, leaf, targets.to(device))
        value.backward()
        found += [value, leaf.grad]
    return found


@pytest.mark.gpu
@pytest.mark.parametrize('case', CASES)
def test_equals_the_cpu(case, device):
    expected = evaluate(case, 'cpu')
    for value, other in zip(evaluate(case, device), expected):
        assert value.device.type == device.type
        assert_near(value, other, TOLERANCE)
        # Else there is nothing to compare.
        assert other.abs().max() > 0


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('case', CASES)
def test_half_precision(case, dtype, device):
    """Under autocast, the CPU's loss in float32 of the same numbers."""
    expected = evaluate(case, 'cpu', rounded=dtype)
    with torch.autocast(device.type, dtype):
        got = evaluate(case, device, dtype, rounded=dtype)
    for value, other in zip(got, expected):
        # A gradient has the numbers of its input.
        limit = max(TOLERANCE, 2 * torch.finfo(value.dtype).eps)
        assert_near(value, other, limit)
