# SPDX-License-Identifier: Apache-2.0
"""Attention maps of labels beside the scores of a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..models.necks import LabelNeck
from .model_parts import neck_of


def attention_neck(model: nn.Module) -> LabelNeck:
    """The neck of a model, which can return the attention of labels.

    Raises:
        ValueError: If the model has no such neck.
    """
    neck = neck_of(model)
    if isinstance(neck, LabelNeck):
        return neck
    got = 'no neck' if neck is None else f'the neck {type(neck).__name__}'
    raise ValueError(
        'Attention maps of labels need a model with a LabelNeck, such as '
        'LabelAttentionNeck, LabelQueryDecoder or MLDecoderNeck, got '
        f'{type(model).__name__} with {got}.'
    )


@contextmanager
def record_inputs(neck: LabelNeck) -> Iterator[list]:
    """Collect what a neck gets inside of the context."""
    inputs: list = []
    hook = neck.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with hook:
        yield inputs


def mean_attention(neck: LabelNeck, features: tuple[Tensor, ...]) -> Tensor:
    """Compute the attention of labels once more, apart from the scores.

    Asked for attention, the neck runs another kernel. The scores of a pass of its own
    are the same with and without attention.

    Args:
        neck (LabelNeck): The neck.
        features (tuple[Tensor, ...]): What the backbone gives.

    Returns:
        Tensor: ``(B, L, h, w)`` or, for tokens without places, ``(B, L, N)``; the mean
        over the heads, float32, on the CPU.
    """
    maps = neck(features, return_attention=True)[1]
    return maps.float().mean(dim=1).cpu()
