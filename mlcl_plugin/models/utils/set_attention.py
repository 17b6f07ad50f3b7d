# SPDX-License-Identifier: Apache-2.0
"""Attention blocks of the Set Transformer, as MulCon uses them."""

import math

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn


class MultiheadAttentionBlock(BaseModule):
    r"""Multihead attention block (MAB) of the Set Transformer.

    With :math:`d` the embedding width and :math:`h` the heads:

    .. math::
        q = W_q Q + b_q,\quad k = W_k K + b_k,\quad v = W_v K + b_v

        A_i = \mathrm{softmax}(q_i k_i^\top / \sqrt{d}),\quad
        O = \mathrm{LN}_0(\mathrm{concat}_i(q_i + A_i v_i)),\quad
        \mathrm{MAB}(Q, K) = \mathrm{LN}_1(O + \mathrm{relu}(W_o O + b_o))

    It differs from :class:`torch.nn.MultiheadAttention` in two ways that
    matter for released weights: the scores are scaled by the root of the full
    width :math:`d` instead of the width of one head, and the residual is the
    *projected* query.

    Source: `Set Transformer <https://arxiv.org/abs/1810.00825>`_, Sec. 3.1,
    with the layout used by `MulCon <https://arxiv.org/abs/2107.11626>`_.

    Args:
        query_dims (int): Channels of the queries.
        key_dims (int): Channels of the tokens that are attended.
        embed_dims (int): Channels of the output, divisible by ``num_heads``.
        num_heads (int): Number of attention heads. Defaults to 4.
        init_cfg (dict, optional): Initialization config. Defaults to None.

    Raises:
        ValueError: If ``embed_dims`` is not divisible by ``num_heads``.
    """

    def __init__(
        self,
        query_dims: int,
        key_dims: int,
        embed_dims: int,
        num_heads: int = 4,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(
                'embed_dims must be a multiple of num_heads, got '
                f'embed_dims={embed_dims} and num_heads={num_heads}.'
            )
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.scale = 1 / math.sqrt(embed_dims)
        self.query_proj = nn.Linear(query_dims, embed_dims)
        self.key_proj = nn.Linear(key_dims, embed_dims)
        self.value_proj = nn.Linear(key_dims, embed_dims)
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        self.norm0 = nn.LayerNorm(embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims)

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, T, D)`` into ``(B, heads, T, D / heads)``."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(
        self,
        queries: torch.Tensor,
        tokens: torch.Tensor,
        return_attention: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Let ``queries`` attend ``tokens``.

        Args:
            queries (Tensor): ``(B, Tq, query_dims)``, or ``(1, Tq,
                query_dims)`` for queries shared by the batch.
            tokens (Tensor): ``(B, Tk, key_dims)``.
            return_attention (bool): Also return the attention weights. They
                are computed without the fused kernel, which never forms them.
                Defaults to False.

        Returns:
            Tensor | tuple[Tensor, Tensor]: ``(B, Tq, embed_dims)`` and, on
            request, the weights ``(B, heads, Tq, Tk)``, each row summing to 1.
        """
        # Queries shared by the batch are projected once, then broadcast.
        query = self.query_proj(queries).expand(tokens.size(0), -1, -1)
        q = self._split_heads(query)
        k = self._split_heads(self.key_proj(tokens))
        v = self._split_heads(self.value_proj(tokens))
        if return_attention:
            weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
            attended = weights @ v
        else:
            weights = None
            attended = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        out = self.norm0(query + attended.transpose(1, 2).flatten(2))
        out = self.norm1(out + F.relu(self.out_proj(out)))
        return (out, weights) if return_attention else out


class SetAttentionBlock(MultiheadAttentionBlock):
    """Set attention block (SAB): a set of tokens attends itself.

    ``SAB(X) = MAB(X, X)`` at a constant width. Source: `Set Transformer
    <https://arxiv.org/abs/1810.00825>`_, Sec. 3.1.

    Args:
        embed_dims (int): Channels in and out, divisible by ``num_heads``.
        num_heads (int): Number of attention heads. Defaults to 4.
        init_cfg (dict, optional): Initialization config. Defaults to None.
    """

    def __init__(
        self, embed_dims: int, num_heads: int = 4, init_cfg: dict | None = None
    ):
        super().__init__(embed_dims, embed_dims, embed_dims, num_heads, init_cfg)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map ``(B, T, embed_dims)`` to ``(B, T, embed_dims)``."""
        return super().forward(tokens, tokens)
