# SPDX-License-Identifier: Apache-2.0
"""The parts of a model, in MMPretrain's contract for classifiers."""

from mmpretrain.models.classifiers import BaseClassifier
from torch import nn


def head_of(model: nn.Module) -> nn.Module | None:
    """The head of a classifier; None for other models and for those without one."""
    if isinstance(model, BaseClassifier) and model.with_head:
        return model.head
    return None


def neck_of(model: nn.Module) -> nn.Module | None:
    """The neck of a classifier; None for other models and for those without one."""
    if isinstance(model, BaseClassifier) and model.with_neck:
        return model.neck
    return None
