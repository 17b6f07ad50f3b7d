# SPDX-License-Identifier: Apache-2.0
"""Attention maps of labels beside the scores of a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..models.necks import LabelAttentionNeck, LabelQueryDecoder, MLDecoderNeck
from .model_parts import neck_of

AttentionNeck = LabelAttentionNeck | LabelQueryDecoder | MLDecoderNeck


def attention_neck(model: nn.Module) -> AttentionNeck:
    """The neck of a model, which can return the attention of labels.

    Raises:
        ValueError: If the model has no such neck.
    """
    neck = neck_of(model)
    if isinstance(neck, AttentionNeck):
        return neck
    got = 'no neck' if neck is None else f'the neck {type(neck).__name__}'
    raise ValueError(
        'Attention maps of labels need a model with one of the necks '
        'LabelAttentionNeck, LabelQueryDecoder and MLDecoderNeck, got '
        f'{type(model).__name__} with {got}.'
    )


@contextmanager
def record_inputs(neck: AttentionNeck) -> Iterator[list]:
    """Collect what a neck gets inside of the context."""
    inputs: list = []
    hook = neck.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with hook:
        yield inputs


def mean_attention(neck: AttentionNeck, features: tuple[Tensor, ...]) -> Tensor:
    """Compute the attention of labels once more, apart from the scores.

    Asked for attention, the neck runs another kernel. The scores of a pass of its own
    are the same with and without attention.

    Args:
        neck (AttentionNeck): The neck.
        features (tuple[Tensor, ...]): What the backbone gives.

    Returns:
        Tensor: ``(B, L, h, w)`` or, for tokens without places, ``(B, L, N)``; the mean
        over the heads, float32, on the CPU.
    """
    maps = neck(features, return_attention=True)[1]
    return maps.float().mean(dim=1).cpu()
