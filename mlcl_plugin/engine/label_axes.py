# SPDX-License-Identifier: Apache-2.0
"""Which weights of a model have a place per label, and on which axis."""

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseAveragedModel
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..models.losses import Memory
from ..models.neighbours import Member
from ..models.utils.label_wise_linear import LabelWiseLinear
from ..models.utils.training_only import is_part
from .random_state import kept_random_state

RESTARTED = (Memory, Member, BaseAveragedModel)
"""Modules that hold what other weights made of images. They start anew."""


def restarted_parts(model: nn.Module) -> tuple[str, ...]:
    """Names of the memories of a model and of its averages of weights.

    Args:
        model (nn.Module): The model.

    Returns:
        tuple[str, ...]: Such as ``('head.contrastive_module.memory',)``.
    """
    return tuple(n for n, part in model.named_modules() if isinstance(part, RESTARTED))


def label_axes(model: nn.Module, cfg: Mapping, num_classes: int) -> dict[str, int]:
    """Find the axis of the labels in each weight that has one.

    The config is built once more with one label more. The axis that grows by one is
    that of the labels. So it is found whatever other sizes equal the number of labels.

    Args:
        model (nn.Module): The model, without wrappers.
        cfg (Mapping): Its config, which states ``num_classes`` wherever a part needs
            it.
        num_classes (int): Number of labels L.

    Returns:
        dict[str, int]: The axis by the name of the weight or buffer. Parts that
        :func:`restarted_parts` names are left out.

    Raises:
        ValueError: If no weight depends on the number of labels, labels share queries
            in groups, or a weight has no single axis of L places.
    """
    other = _build_with_one_more(cfg, num_classes)
    for part in [*model.modules(), *other.modules()]:
        if isinstance(part, LabelWiseLinear) and part.group_size > 1:
            raise ValueError(
                f'The labels share num_groups={part.num_groups} queries. Which labels '
                'share one follows from their order, so that labels of another '
                'training cannot be kept. Take the backbone alone, by '
                "init_cfg=dict(type='Pretrained', prefix='backbone.')."
            )
    own, grown = model.state_dict(), other.state_dict()
    restarted = restarted_parts(model)
    axes = {}
    for name, value in own.items():
        if name not in grown or any(is_part(name, part) for part in restarted):
            continue
        if not isinstance(value, Tensor) or value.shape == grown[name].shape:
            continue
        axis = _grown_axis(tuple(value.shape), tuple(grown[name].shape), num_classes)
        if axis is None:
            raise ValueError(
                f"The weight '{name}' has the shape {tuple(value.shape)} with "
                f'{num_classes} labels and {tuple(grown[name].shape)} with '
                f'{num_classes + 1}: expected a single axis with a place per label. '
                'Take the backbone alone, by '
                "init_cfg=dict(type='Pretrained', prefix='backbone.')."
            )
        axes[name] = axis
    if not axes:
        raise ValueError(
            f'No weight of the model depends on num_classes={num_classes} of the '
            'config. Set num_classes in model.neck and model.head to the number of '
            'labels.'
        )
    return axes


def _build_with_one_more(cfg: Mapping, num_classes: int) -> nn.Module:
    """The model with one label more, and without a backbone."""
    changed = _replace(cfg, num_classes)
    if 'backbone' in changed:
        # Its weights do not depend on labels.
        changed['backbone'] = dict(type='IdentityBackbone')
    with kept_random_state():
        return MODELS.build(changed)


def _replace(content: Any, num_classes: int) -> Any:
    """Increase each ``num_classes`` of this value in nested dicts and lists."""
    if isinstance(content, Mapping):
        return {
            key: num_classes + 1
            if key == 'num_classes' and value == num_classes
            else _replace(value, num_classes)
            for key, value in content.items()
        }
    if isinstance(content, list | tuple):
        return type(content)(_replace(item, num_classes) for item in content)
    return content


def _grown_axis(
    shape: tuple[int, ...], grown: tuple[int, ...], num_classes: int
) -> int | None:
    """The only axis that differs, if it has ``num_classes`` places and one more."""
    if len(shape) != len(grown):
        return None
    differing = [
        axis for axis, sizes in enumerate(zip(shape, grown)) if len(set(sizes)) > 1
    ]
    if len(differing) != 1:
        return None
    axis = differing[0]
    sizes = (shape[axis], grown[axis])
    return axis if sizes == (num_classes, num_classes + 1) else None
