# SPDX-License-Identifier: Apache-2.0
"""Turn a feature map into one embedding per label, by attention."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..utils import (
    MultiheadAttentionBlock,
    SetAttentionBlock,
    labels_per_group,
    to_tokens,
)
from .label_neck import LabelNeck


@MODELS.register_module()
class LabelAttentionNeck(LabelNeck):
    r"""Label queries attend a feature map: one embedding per label.

    The positions of the feature map are a set of tokens, without position code
    and without input projection. ``num_blocks_before`` set attention blocks
    mix the tokens at their own width, then L learned label queries attend them,
    then ``num_blocks_after`` set attention blocks let the L label embeddings
    attend one another.

    Source: `MulCon <https://arxiv.org/abs/2107.11626>`_. The released weights
    have 2 blocks before and 1 after (the defaults), the figure of the journal
    version shows 1 and 1, the first arXiv version has 0 and 0.

    For thousands of labels, ``num_groups`` queries, each for a group of labels, replace
    the L label queries, and the head tells the labels of a group apart.
    Source: `ML-Decoder <https://arxiv.org/abs/2111.12933>`_, its group decoding.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Channels C of the feature map or tokens.
        embed_dims (int): Width D of a label's embedding. Defaults to 1024.
        num_heads (int): Heads of every attention; divides ``embed_dims`` and,
            with blocks before, ``in_channels``. Defaults to 4.
        num_blocks_before (int): Set attention blocks on the tokens.
            Defaults to 2.
        num_blocks_after (int): Set attention blocks on the label embeddings.
            Defaults to 1.
        num_extra_tokens (int): Leading tokens of token input that are no place
            of the image (class token, registers) and are left out. A backbone
            that gives ``(B, C, H, W)`` has none. Defaults to 0.
        num_groups (int, optional): Number of groups G that the labels are put into:
            label l goes to group ``l // ceil(L / G)``. The head's ``num_groups``
            must be the same. None gives every label a query of its own.
            Defaults to None.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            N(0, 0.02) with zero bias for linear layers, as MulCon. The label
            queries are Xavier-uniform over their shape ``(1, L, D)``.

    Raises:
        ValueError: If a size is not positive, a block count is negative, a width is
            not divisible by ``num_heads``, or there is no group or there are more
            groups than labels.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        embed_dims: int = 1024,
        num_heads: int = 4,
        num_blocks_before: int = 2,
        num_blocks_after: int = 1,
        num_extra_tokens: int = 0,
        num_groups: int | None = None,
        init_cfg: dict | list | tuple | None = (
            dict(type='Normal', layer='Linear', std=0.02, bias=0.0),
        ),
    ):
        super().__init__(
            init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg
        )
        sizes = dict(
            num_classes=num_classes, in_channels=in_channels, embed_dims=embed_dims
        )
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'{name} must be positive, got {value}.')
        counts = dict(
            num_blocks_before=num_blocks_before,
            num_blocks_after=num_blocks_after,
            num_extra_tokens=num_extra_tokens,
        )
        for name, value in counts.items():
            if value < 0:
                raise ValueError(f'{name} must not be negative, got {value}.')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.embed_dims = embed_dims
        self.num_extra_tokens = num_extra_tokens
        self.num_groups = num_groups
        self.group_size = labels_per_group(num_classes, num_groups)

        num_queries = num_classes if num_groups is None else num_groups
        self.queries = nn.Parameter(torch.empty(1, num_queries, embed_dims))
        nn.init.xavier_uniform_(self.queries)
        self.blocks_before = nn.Sequential(
            *(
                SetAttentionBlock(in_channels, num_heads)
                for _ in range(num_blocks_before)
            )
        )
        self.label_attention = MultiheadAttentionBlock(
            embed_dims, in_channels, embed_dims, num_heads
        )
        self.blocks_after = nn.Sequential(
            *(SetAttentionBlock(embed_dims, num_heads) for _ in range(num_blocks_after))
        )

    def forward(
        self,
        feats: torch.Tensor | Sequence[torch.Tensor],
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """Compute the embeddings of labels or groups.

        Args:
            feats (Tensor | Sequence[Tensor]): The backbone's output; of several
                stages the last one is used. A feature map ``(B, C, H, W)`` or
                tokens ``(B, N, C)``.
            return_attention (bool): Also return the label attention map.
                Defaults to False.

        Returns:
            tuple[Tensor, ...]: The embeddings ``(B, L, D)``, of groups ``(B, G,
            D)``, as a tuple of one, which is what heads expect of a neck. With
            ``return_attention`` a second item, the attention ``(B, heads, L, H,
            W)``, for tokens ``(B, heads, L, N)``; it sums to 1 over the places.
            Labels of a group have the attention of the group.

        Raises:
            ValueError: If the features have another shape than expected.
        """
        tokens, places = to_tokens(feats, self.in_channels, self.num_extra_tokens)
        # Three projections read the tokens, so one copy is cheaper than three. A
        # channels-last feature map needs none.
        tokens = self.blocks_before(tokens.contiguous())
        if not return_attention:
            embeddings = self.label_attention(self.queries, tokens)
            return (self.blocks_after(embeddings),)
        embeddings, attention = self.label_attention(
            self.queries, tokens, return_attention=True
        )
        if self.group_size > 1:
            attention = attention.repeat_interleave(self.group_size, dim=2)
            attention = attention[:, :, : self.num_classes]
        return self.blocks_after(embeddings), attention.unflatten(-1, places)
