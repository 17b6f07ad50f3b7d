# SPDX-License-Identifier: Apache-2.0
"""Layers of a transformer, with position codes on queries and keys."""

import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import nn


class ResidualAttention(nn.Module):
    r"""Attention, added to the queries and normalised.

    With the codes :math:`c_x, c_y` of queries :math:`x` and tokens :math:`y`:

    .. math::
        \mathrm{LN}(x + \mathrm{dropout}(\mathrm{MHA}(x + c_x,\ y + c_y,\ y)))

    Values carry no code. Sources: `Attention Is All You Need
    <https://arxiv.org/abs/1706.03762>`_; `DETR <https://arxiv.org/abs/2005.12872>`_
    for the codes in every layer.

    Args:
        embed_dims (int): Width D of queries and tokens, a multiple of ``num_heads``.
        num_heads (int): Number of attention heads.
        dropout (float): Share of attention weights and of outputs that are dropped in
            training. Defaults to 0.1.

    Raises:
        ValueError: If ``embed_dims`` is not a multiple of ``num_heads``.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.1):
        super().__init__()
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(
                'embed_dims must be a multiple of num_heads, got '
                f'embed_dims={embed_dims} and num_heads={num_heads}.'
            )
        self.num_heads = num_heads
        self.attention = nn.MultiheadAttention(
            embed_dims, num_heads, dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(
        self,
        queries: torch.Tensor,
        tokens: torch.Tensor,
        query_code: torch.Tensor | None = None,
        token_code: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Let ``queries`` attend ``tokens``.

        Args:
            queries (Tensor): ``(B, Tq, D)``.
            tokens (Tensor): ``(B, Tk, D)``.
            query_code (Tensor, optional): Added to the queries of the attention,
                broadcasts to their shape. Defaults to None.
            token_code (Tensor, optional): Added to its keys. Defaults to None.
            return_attention (bool): Also return the weights, which the fused kernel
                never forms. Defaults to False.

        Returns:
            tuple[Tensor, Tensor | None]: ``(B, Tq, D)`` and, if asked for, the weights
            ``(B, heads, Tq, Tk)``, in training after dropout.
        """
        attended, weights = self.attention(
            queries if query_code is None else queries + query_code,
            tokens if token_code is None else tokens + token_code,
            tokens,
            need_weights=return_attention,
            average_attn_weights=False,
        )
        return self.norm(queries + self.dropout(attended)), weights


class TransformerLayer(nn.Module):
    """Attention and a feed-forward network, each added and normalised (post-norm).

    Args:
        embed_dims (int): Width D, a multiple of ``num_heads``.
        num_heads (int): Number of attention heads.
        feedforward_channels (int): Width of the hidden layer.
        dropout (float): Share that is dropped in training. Defaults to 0.1.

    Raises:
        ValueError: If a width is not positive or ``embed_dims`` is not a multiple of
            ``num_heads``.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float = 0.1,
    ):
        super().__init__()
        if feedforward_channels < 1:
            raise ValueError(
                f'feedforward_channels must be positive, got {feedforward_channels}.'
            )
        self.attention = ResidualAttention(embed_dims, num_heads, dropout)
        self.ffn = FFN(embed_dims, feedforward_channels, ffn_drop=dropout)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As :meth:`ResidualAttention.forward`, followed by the network."""
        out, weights = self.attention(queries, tokens, *args, **kwargs)
        return self.norm(self.ffn(out)), weights
