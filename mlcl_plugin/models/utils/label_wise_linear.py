# SPDX-License-Identifier: Apache-2.0
"""One linear unit per label, as one operation."""

import torch
from torch import nn


class LabelWiseLinear(nn.Module):
    r"""One linear unit per label: :math:`s_{bl} = w_l \cdot x_{bl} + b_l`.

    Equal to ``num_classes`` separate ``nn.Linear(in_channels, 1)``, the
    :math:`l`-th of which sees the embedding of label :math:`l` only.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Width D of a label's embedding.
    """

    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels))
        self.bias = nn.Parameter(torch.empty(num_classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as ``num_classes`` separate ``nn.Linear`` would."""
        bound = self.in_channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map label-wise embeddings ``(B, L, D)`` to logits ``(B, L)``."""
        # A matrix product would form all L x L pairs of unit and embedding.
        return torch.einsum('bld,ld->bl', x, self.weight) + self.bias

    def extra_repr(self) -> str:
        return f'num_classes={self.num_classes}, in_channels={self.in_channels}'
