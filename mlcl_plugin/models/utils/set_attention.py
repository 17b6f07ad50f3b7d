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
        query = self.query_proj(queries)
        if self._few_shared_queries(query, tokens):
            attended, weights = self._attend_raw(query, tokens)
        else:
            attended, weights = self._attend(query, tokens, return_attention)
        out = self.norm0(query + attended)
        out = self.norm1(out + F.relu(self.out_proj(out)))
        return (out, weights) if return_attention else out

    def _attend(
        self, query: torch.Tensor, tokens: torch.Tensor, with_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attention between the projected queries and projected tokens."""
        q = self._split_heads(query)
        k = self._split_heads(self.key_proj(tokens))
        v = self._split_heads(self.value_proj(tokens))
        # The fused kernel multiplies half-precision numbers slowly on CPUs. With
        # so few tokens the weights take no more memory than the queries.
        slow = k.is_cpu and k.dtype.itemsize == 2 and k.size(-2) <= k.size(-1)
        if with_weights or slow:
            weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
            attended = weights @ v
        else:
            weights = None
            q = q.expand(len(tokens), -1, -1, -1)
            attended = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return attended.transpose(1, 2).flatten(2), weights

    def _few_shared_queries(self, query: torch.Tensor, tokens: torch.Tensor) -> bool:
        """Whether :meth:`_attend_raw` can be used and takes fewer products."""
        # Adapters and quantised layers have no plain weight.
        plain = all(type(m) is nn.Linear for m in (self.key_proj, self.value_proj))
        if not plain or len(query) != 1:
            return False
        batch, num_tokens, _ = tokens.shape
        rows = query.size(1)
        products = 2 * batch * rows * self.num_heads * num_tokens
        products += (batch + 1) * rows * self.embed_dims
        return products < 2 * batch * num_tokens * self.embed_dims

    def _attend_raw(
        self, query: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r"""The same attention without projecting the tokens.

        :math:`q_i \cdot (W_k x + b_k) = (W_k^\top q_i) \cdot x + q_i \cdot b_k`, and
        a mean of projected values is the projection of a mean, so that key and
        value projection move from the tokens to the queries, which are the same for
        all images, and to the attended means, which are few.
        """
        heads, width = self.num_heads, self.embed_dims // self.num_heads
        batch, num_tokens, key_dims = tokens.shape
        q = self._split_heads(query)[0] * self.scale
        offset = q @ self.key_proj.bias.view(heads, width, 1)
        q = q @ self.key_proj.weight.view(heads, width, key_dims)
        scores = torch.baddbmm(
            offset.view(1, -1, 1),
            q.view(1, -1, key_dims).expand(batch, -1, -1),
            tokens.transpose(1, 2),
        )
        weights = scores.softmax(dim=-1)
        weights = weights.unflatten(1, (heads, -1))
        values = self.value_proj.weight.chunk(heads)
        # In a loop, since a product over all heads would copy the means.
        attended = torch.cat(
            [F.linear(w @ tokens, v) for w, v in zip(weights.unbind(1), values)], dim=-1
        )
        return attended + self.value_proj.bias, weights


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
