# SPDX-License-Identifier: Apache-2.0
"""Build the loss of a head, and check its kind."""

from typing import TypeVar

from mmpretrain.registry import MODELS
from torch import nn

Loss = TypeVar('Loss', bound=nn.Module)


def build_loss(
    loss: dict | nn.Module, kind: type[Loss], name: str, hint: str = ''
) -> Loss:
    """Build a loss from its config, or take a module, and check its class.

    Args:
        loss (dict | nn.Module): The loss, or its config.
        kind (type): The class that it must have or derive from.
        name (str): What the message calls the loss.
        hint (str): How to mend it, for the message. Defaults to '', which names
            ``kind``.

    Returns:
        nn.Module: The loss.

    Raises:
        ValueError: If it is of another class.
    """
    module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
    if not isinstance(module, kind):
        raise ValueError(
            f'{name} must be a {kind.__name__}, got {type(module).__name__}. '
            + (hint or f'Use {kind.__name__}, or a loss that derives from it.')
        )
    return module
