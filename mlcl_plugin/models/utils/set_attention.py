# SPDX-License-Identifier: Apache-2.0
"""Attention blocks of the Set Transformer, as MulCon uses them."""

import math

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

# The projection of the tokens is left out if that saves more than this factor of
# products, since the others are slower and may need more memory.
LEAVE_OUT = 1.5


def _is_one(size: int | torch.SymInt) -> bool:
    """Whether a size is 1, and not one that torch.export leaves open."""
    return not isinstance(size, torch.SymInt) and size == 1


class _AttentionBlock(BaseModule):
    """Layers of :class:`MultiheadAttentionBlock`, with the same arguments."""

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

    def _run(
        self, queries: torch.Tensor, tokens: torch.Tensor, with_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The output ``(B, Tq, D)``, and the attention weights if they are formed."""
        # Queries shared by the batch are projected once, then broadcast.
        query = self.query_proj(queries)
        attended, weights = self._attend(query, tokens, with_weights)
        out = self.norm0(query + attended)
        return self.norm1(out + F.relu(self.out_proj(out))), weights

    def _attend(
        self, query: torch.Tensor, tokens: torch.Tensor, with_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attention output of projected queries, and the weights if they are formed."""
        q = self._split_heads(query)
        if self._few_shared_queries(query, tokens):
            weights = self._weights_of_raw_keys(q, tokens)
            return self._average(weights, tokens), weights
        k = self._split_heads(self.key_proj(tokens))
        # On CPUs the weights of so few tokens take less memory than what the fused
        # kernel keeps for the backward pass and, in half precision, less time.
        short = k.is_cpu and k.size(-2) <= k.size(-1)
        if with_weights or short:
            weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
            return self._average(weights, tokens), weights
        q = q.expand(tokens.shape[0], -1, -1, -1)
        v = self._split_heads(self.value_proj(tokens))
        attended = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return attended.transpose(1, 2).flatten(2), None

    def _few_shared_queries(self, query: torch.Tensor, tokens: torch.Tensor) -> bool:
        """Whether it is faster not to project the keys."""
        num_tokens = tokens.shape[1]
        # Adapters and quantised layers have no plain weight.
        if type(self.key_proj) is not nn.Linear or not _is_one(query.shape[0]):
            return False
        batch, own = tokens.shape[0], self.embed_dims
        if isinstance(batch, torch.SymInt):
            # torch.export leaves the size open: as in a large batch, where the product
            # of the queries, which is one for all images, does not count.
            batch, own = 1, 0
        products = batch * self.num_heads * num_tokens + own
        products *= query.shape[1]
        return LEAVE_OUT * products < batch * num_tokens * self.embed_dims

    def _weights_of_raw_keys(
        self, q: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        r"""Attention weights without projecting the tokens to keys.

        :math:`q \cdot (W_k x + b_k) = (W_k^\top q) \cdot x + q \cdot b_k` moves the
        projection to the queries, which are the same for all images.
        """
        heads, width, key_dims = self.num_heads, q.size(-1), tokens.size(-1)
        q = q[0] * self.scale
        offset = q @ self.key_proj.bias.view(heads, width, 1)
        q = q @ self.key_proj.weight.view(heads, width, key_dims)
        scores = F.linear(tokens, q.flatten(0, 1), offset.flatten())
        return scores.transpose(1, 2).softmax(dim=-1).unflatten(1, (heads, -1))

    def _average(self, weights: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Values averaged by weights ``(B, heads, Tq, Tk)``, to ``(B, Tq, D)``."""
        _, heads, rows, num_tokens = weights.shape
        products = rows * (heads * num_tokens + self.embed_dims)
        if (
            type(self.value_proj) is nn.Linear
            and LEAVE_OUT * products < num_tokens * self.embed_dims
        ):
            # The mean of projected tokens is the projection of their mean.
            means = (weights.flatten(1, 2) @ tokens).unflatten(1, (heads, -1))
            weight = self.value_proj.weight.unflatten(0, (heads, -1))
            # One product per head for all images. ONNX Runtime takes several times as
            # long for the same as an einsum.
            products_of_heads = means.transpose(0, 1).flatten(1, 2) @ weight.mT
            attended = products_of_heads.unflatten(1, (-1, rows)).permute(1, 2, 0, 3)
            return attended.flatten(2) + self.value_proj.bias
        v = self._split_heads(self.value_proj(tokens))
        return (weights @ v).transpose(1, 2).flatten(2)


class MultiheadAttentionBlock(_AttentionBlock):
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
        out, weights = self._run(queries, tokens, return_attention)
        return (out, weights) if weights is not None and return_attention else out


class SetAttentionBlock(_AttentionBlock):
    """Set attention block (SAB): the tokens of a set attend one another.

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
        return self._run(tokens, tokens, with_weights=False)[0]
