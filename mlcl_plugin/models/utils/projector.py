# SPDX-License-Identifier: Apache-2.0
"""The projector in front of a contrastive loss."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn


class ContrastiveProjector(BaseModule):
    r"""Two linear layers onto the unit sphere, shared by all labels.

    :math:`z = \mathrm{l2norm}(W_2\,\mathrm{relu}(W_1 g + b_1) + b_2)`, used in
    training only. Source: `MulCon <https://arxiv.org/abs/2107.11626>`_.

    Args:
        in_channels (int): Width of an embedding.
        hidden_channels (int, optional): Width of the hidden layer. None takes
            ``in_channels``, as MulCon does. Defaults to None.
        out_channels (int): Width of a projection. Defaults to 128.
        init_cfg (dict, optional): Initialization config. Defaults to None.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | None = None,
        out_channels: int = 128,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        hidden_channels = hidden_channels or in_channels
        self.fc1 = nn.Linear(in_channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., in_channels)`` to unit vectors ``(..., out_channels)``."""
        return _to_sphere(self.fc2(F.relu(self.fc1(x))))


class UnitVectors(nn.Module):
    """No projector: embeddings themselves, scaled to the unit sphere.

    It has no weights, and takes checkpoints with those of a projector.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., D)`` to unit vectors ``(..., D)``."""
        return _to_sphere(x)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Load nothing, and leave the weights of a projector unused."""


def _to_sphere(x: torch.Tensor) -> torch.Tensor:
    # In half precision the norm of a projection is too coarse for a loss that divides
    # cosines by a small temperature.
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    return F.normalize(x, dim=-1)
