# SPDX-License-Identifier: Apache-2.0
"""Decode groups of labels by fixed queries."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from ..utils import labels_per_group
from ..utils.tokens import to_tokens
from ..utils.transformer_layer import TransformerLayer
from .label_neck import LabelNeck

# An unlikely seed of a run, whose weights would begin with the same numbers.
QUERY_SEED = 211112933


@MODELS.register_module()
class MLDecoderNeck(LabelNeck):
    r"""ML-Decoder: fixed queries attend a feature map, each for a group of labels.

    With fixed random queries :math:`Q` and tokens :math:`x`, which carry no position
    code:

    .. math::
        E = \mathrm{relu}(W x + b), \quad
        T_1 = \mathrm{LN}(Q + \mathrm{dropout}(Q)), \quad
        T_2 = \mathrm{LN}(T_1 + \mathrm{MHA}(T_1, E, E)), \quad
        T = \mathrm{LN}(T_2 + \mathrm{FFN}(T_2))

    A query is added to itself instead of a self-attention, which makes the cost linear
    in the number of queries. :class:`LabelWiseClsHead` with the same
    ``num_classes`` and ``num_groups`` tells the labels of a group apart.

    Source: `ML-Decoder <https://arxiv.org/abs/2111.12933>`_. Deviation: the queries
    are drawn from N(0, 1) with a fixed seed, whatever the seed of the run, so that all
    processes have the same: DDP as MMEngine sets it up does not share buffers.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Channels C of the feature map or tokens.
        embed_dims (int): Width D of an embedding, a multiple of ``num_heads``.
            Defaults to 768.
        num_groups (int, optional): Number of groups G that the labels are put into:
            label l goes to group ``l // ceil(L / G)``. The head's ``num_groups``
            must be the same. None gives every label a query of its own.
            Defaults to None.
        num_heads (int): Heads of the attention. Defaults to 8.
        feedforward_channels (int): Width of the hidden layer of the feed-forward
            network. Defaults to 2048.
        dropout (float): Share of queries, attention weights, outputs and hidden units
            that are dropped in training. Defaults to 0.1.
        num_extra_tokens (int): Leading tokens of token input that are no place
            of the image (class token, registers) and are left out. A backbone
            that gives ``(B, C, H, W)`` has none. Defaults to 0.
        init_cfg (dict | list, optional): Initialization config. Defaults to None,
            which leaves the layers as torch initialises them.

    Raises:
        ValueError: If a size is not positive, a count is negative, ``embed_dims`` is
            not a multiple of ``num_heads``, ``dropout`` is no share, or there is no
            group or there are more groups than labels.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        embed_dims: int = 768,
        num_groups: int | None = None,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
        num_extra_tokens: int = 0,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        sizes = dict(
            num_classes=num_classes, in_channels=in_channels, embed_dims=embed_dims
        )
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'{name} must be positive, got {value}.')
        if num_extra_tokens < 0:
            raise ValueError(
                f'num_extra_tokens must not be negative, got {num_extra_tokens}.'
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.embed_dims = embed_dims
        self.num_groups = num_groups
        self.num_extra_tokens = num_extra_tokens
        self.group_size = labels_per_group(num_classes, num_groups)

        num_queries = num_classes if num_groups is None else num_groups
        generator = torch.Generator().manual_seed(QUERY_SEED)
        self.register_buffer(
            'queries',
            torch.randn(num_queries, embed_dims, generator=generator, device='cpu'),
        )
        self.input_proj = nn.Linear(in_channels, embed_dims)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dims)
        self.layer = TransformerLayer(
            embed_dims, num_heads, feedforward_channels, dropout
        )

    def forward(
        self,
        feats: torch.Tensor | Sequence[torch.Tensor],
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """Compute the embeddings of groups or labels.

        Args:
            feats (Tensor | Sequence[Tensor]): The backbone's output; of several
                stages the last one is used. A feature map ``(B, C, H, W)`` or
                tokens ``(B, N, C)``.
            return_attention (bool): Also return the attention map.
                Defaults to False.

        Returns:
            tuple[Tensor, ...]: The embeddings ``(B, G, D)`` as a tuple of one, which
            is what heads expect of a neck. With ``return_attention`` a second item,
            the attention ``(B, heads, L, H, W)``, for tokens ``(B, heads, L, N)``; it
            sums to 1 over the places, apart from dropout in training. Labels
            of a group have the attention of the group.

        Raises:
            ValueError: If the features have another shape than expected.
        """
        tokens, places = to_tokens(feats, self.in_channels, self.num_extra_tokens)
        tokens = F.relu(self.input_proj(tokens))
        queries = self.queries.expand(tokens.shape[0], -1, -1)
        queries = self.norm(queries + self.dropout(queries))
        embeddings, attention = self.layer(
            queries, tokens, return_attention=return_attention
        )
        if not return_attention:
            return (embeddings,)
        attention = attention.repeat_interleave(self.group_size, dim=2)
        return embeddings, attention[:, :, : self.num_classes].unflatten(-1, places)
