# SPDX-License-Identifier: Apache-2.0
"""Learned factors for labels that share an embedding."""

import torch
import torch.nn.functional as F
from torch import nn


class LabelWiseScale(nn.Module):
    r"""A learned factor for every label and channel: :math:`e_l = x \odot s_l`.

    It starts as random signs: the labels that share an embedding :math:`x` then begin
    with embeddings of the same length that are nearly orthogonal.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Width D of an embedding.
    """

    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a sign for every label and channel."""
        with torch.no_grad():
            self.weight.bernoulli_(0.5).mul_(2).sub_(1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scale embeddings ``(N, D)`` for their labels ``(N,)``."""
        return x * F.embedding(labels, self.weight)

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return f'num_classes={self.num_classes}, in_channels={self.in_channels}'
