# SPDX-License-Identifier: Apache-2.0
"""One linear unit per label, as one operation."""

import torch
import torch.nn.functional as F
from torch import nn

from .label_groups import labels_per_group


class LabelWiseLinear(nn.Module):
    r"""One linear unit per label: :math:`s_{bl} = w_l \cdot x_{b,g(l)} + b_l`.

    By default :math:`g(l) = l`: equal to ``num_classes`` separate
    ``nn.Linear(in_channels, 1)``, the :math:`l`-th of which sees the embedding of
    label :math:`l` only. With groups, the units of :math:`f = \lceil L / G \rceil`
    labels in turn see the embedding of their group, :math:`g(l) = \lfloor l / f
    \rfloor`. The parameters are the same either way.

    Source: `ML-Decoder <https://arxiv.org/abs/2111.12933>`_ for the groups.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Width D of an embedding.
        num_groups (int, optional): Number of groups G. None gives every label a
            group of its own. Defaults to None.

    Raises:
        ValueError: If there is no group or there are more groups than labels.
    """

    def __init__(
        self, num_classes: int, in_channels: int, num_groups: int | None = None
    ):
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.group_size = labels_per_group(num_classes, num_groups)
        self.num_groups = num_classes if num_groups is None else num_groups
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels))
        self.bias = nn.Parameter(torch.empty(num_classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as ``num_classes`` separate ``nn.Linear`` would."""
        bound = self.in_channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map embeddings ``(B, G, D)`` to logits ``(B, L)``."""
        shape = (self.num_groups, self.group_size)
        missing = shape[0] * shape[1] - self.num_classes
        weight = F.pad(self.weight, (0, 0, 0, missing)) if missing else self.weight
        # One product per group: a single one would pair all units and embeddings.
        logits = torch.einsum('bgd,gfd->bgf', x, weight.unflatten(0, shape))
        return logits.flatten(1)[:, : self.num_classes] + self.bias

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'num_classes={self.num_classes}, in_channels={self.in_channels}, '
            f'num_groups={self.num_groups}'
        )
