# SPDX-License-Identifier: Apache-2.0
"""One forward and backward pass of a tiny label-wise model."""

import time

import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

MODEL = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=8,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
    ),
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=3,
        in_channels=16,
        embed_dims=16,
        num_heads=2,
    ),
    head=dict(
        type='LabelWiseClsHead',
        num_classes=3,
        in_channels=16,
        loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
        projector=dict(hidden_channels=16, out_channels=8),
    ),
)


def devices() -> list[str]:
    """The devices that torch can use."""
    return ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]


def tiny_pass(device: str) -> float:
    """Compute losses and gradients of a tiny model on random images.

    Args:
        device (str): The device.

    Returns:
        float: Seconds of the pass.

    Raises:
        FloatingPointError: If a loss or gradient is not finite.
        RuntimeError: If a parameter has no gradient, or torch fails.
    """
    with torch.random.fork_rng(), DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        model = MODELS.build(MODEL).to(device).train()
        # Two views of two images: B = 4, of 32 pixels.
        images = torch.randn(4, 3, 32, 32, device=device)
    targets = torch.tensor([[1.0, 0, 1], [0, 1, 1]] * 2, device=device)
    samples = [DataSample().set_gt_score(target) for target in targets]
    start = time.perf_counter()
    losses = model.loss(images, samples)
    total = torch.stack([value for key, value in losses.items() if 'loss' in key]).sum()
    total.backward()
    _check(model, total)
    return time.perf_counter() - start


def _check(model: torch.nn.Module, total: torch.Tensor) -> None:
    if not torch.isfinite(total):
        raise FloatingPointError(f'The loss of a tiny model is {total.item()}.')
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            raise RuntimeError(f'{name} of a tiny model has no gradient.')
        if not torch.isfinite(parameter.grad).all():
            raise FloatingPointError(f'The gradient of {name} is not finite.')
