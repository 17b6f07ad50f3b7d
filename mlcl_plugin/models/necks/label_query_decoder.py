# SPDX-License-Identifier: Apache-2.0
"""A transformer whose decoder asks a feature map for every label."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..utils.sine_position_code import check_embed_dims, sine_position_code
from ..utils.tokens import to_tokens
from ..utils.transformer_layer import ResidualAttention, TransformerLayer
from .label_neck import LabelNeck


class LabelDecoderLayer(TransformerLayer):
    """Labels attend the tokens, and before that one another if wanted.

    Args:
        self_attention (bool): Whether the labels attend one another.
        embed_dims (int): Width D, a multiple of ``num_heads``.
        num_heads (int): Number of attention heads.
        feedforward_channels (int): Width of the hidden layer.
        dropout (float): Share that is dropped in training.
    """

    def __init__(
        self,
        self_attention: bool,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
    ):
        super().__init__(embed_dims, num_heads, feedforward_channels, dropout)
        self.self_attention = None
        if self_attention:
            self.self_attention = ResidualAttention(embed_dims, num_heads, dropout)

    def forward(
        self,
        labels: torch.Tensor,
        tokens: torch.Tensor,
        label_code: torch.Tensor,
        token_code: torch.Tensor | None = None,
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map ``(B, L, D)`` to ``(B, L, D)`` and the weights ``(B, heads, L, T)``."""
        if self.self_attention is not None:
            labels, _ = self.self_attention(labels, labels, label_code, label_code)
        return super().forward(labels, tokens, label_code, token_code, return_attention)


@MODELS.register_module()
class LabelQueryDecoder(LabelNeck):
    r"""Transformer with a learned query for every label: one embedding per label.

    A linear layer brings the tokens of the feature map to the width D, if they have
    another. Encoder layers let them attend one another; then L learned queries attend
    them in the decoder layers. The sine code of a place, see
    :func:`sine_position_code`, is added to queries and keys of all attention to the
    places and between them, and so are the label queries in the decoder, whose input
    starts at zero. Values carry no code. Every sublayer is followed by a layer norm
    (post-norm); no further norm follows the last.

    Sources: `Query2Label <https://arxiv.org/abs/2107.10834>`_; `DETR
    <https://arxiv.org/abs/2005.12872>`_ for where codes and queries are added; `SADCL
    <https://arxiv.org/abs/2307.09715>`_, with the same sizes, for a decoder without
    self-attention (``self_attention=False``).

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Channels C of the feature map or tokens.
        embed_dims (int): Width D of a label's embedding, a multiple of 4 and of
            ``num_heads``. Defaults to 2048.
        num_heads (int): Heads of every attention. Defaults to 4.
        num_encoder_layers (int): Layers on the tokens. Defaults to 1.
        num_decoder_layers (int): Layers on the labels. Defaults to 2.
        feedforward_channels (int): Width of the hidden layers of the feed-forward
            networks. Defaults to 8192.
        dropout (float): Share of attention weights, outputs and hidden units that are
            dropped in training. Defaults to 0.1.
        self_attention (bool): Let the labels attend one another from the second
            decoder layer on; in the first they hold no information on the image. Its
            cost grows with the square of L. Defaults to True.
        num_extra_tokens (int): Leading tokens of token input that are no place
            of the image (class token, registers) and are left out. A backbone
            that gives ``(B, C, H, W)`` has none. Defaults to 0.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            Xavier-uniform with zero bias for linear layers, as DETR. The label
            queries are N(0, 1).

    Raises:
        ValueError: If a size is not positive, a count is negative, there is no decoder
            layer, ``embed_dims`` is not a multiple of 4 and of ``num_heads``, or
            ``dropout`` is no share.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        embed_dims: int = 2048,
        num_heads: int = 4,
        num_encoder_layers: int = 1,
        num_decoder_layers: int = 2,
        feedforward_channels: int = 8192,
        dropout: float = 0.1,
        self_attention: bool = True,
        num_extra_tokens: int = 0,
        init_cfg: dict | list | tuple | None = (
            dict(type='Xavier', layer='Linear', distribution='uniform', bias=0.0),
        ),
    ):
        super().__init__(
            init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg
        )
        sizes = dict(
            num_classes=num_classes,
            in_channels=in_channels,
            num_decoder_layers=num_decoder_layers,
        )
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'{name} must be positive, got {value}.')
        counts = dict(
            num_encoder_layers=num_encoder_layers, num_extra_tokens=num_extra_tokens
        )
        for name, value in counts.items():
            if value < 0:
                raise ValueError(f'{name} must not be negative, got {value}.')
        check_embed_dims(embed_dims)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.embed_dims = embed_dims
        self.num_extra_tokens = num_extra_tokens

        self.input_proj: nn.Module = nn.Identity()
        if in_channels != embed_dims:
            self.input_proj = nn.Linear(in_channels, embed_dims)
        options = (embed_dims, num_heads, feedforward_channels, dropout)
        self.encoder = nn.ModuleList(
            TransformerLayer(*options) for _ in range(num_encoder_layers)
        )
        self.decoder = nn.ModuleList(
            LabelDecoderLayer(self_attention and number > 0, *options)
            for number in range(num_decoder_layers)
        )
        self.queries = nn.Parameter(torch.randn(1, num_classes, embed_dims))

    def forward(
        self,
        feats: torch.Tensor | Sequence[torch.Tensor],
        return_attention: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """Compute the embeddings of the labels.

        Args:
            feats (Tensor | Sequence[Tensor]): The backbone's output; of several
                stages the last one is used. A feature map ``(B, C, H, W)`` or
                tokens ``(B, N, C)``. Tokens have no known places and get no position
                code: let the backbone return a feature map, or add a code itself as
                a ViT does.
            return_attention (bool): Also return the attention of the last layer.
                Defaults to False.

        Returns:
            tuple[Tensor, ...]: The embeddings ``(B, L, D)`` as a tuple of one, which
            is what heads expect of a neck. With ``return_attention`` a second item,
            the attention of the last decoder layer ``(B, heads, L, H, W)``, for tokens
            ``(B, heads, L, N)``; it sums to 1 over the places, apart from dropout
            in training.

        Raises:
            ValueError: If the features have another shape than expected.
        """
        tokens, places = to_tokens(feats, self.in_channels, self.num_extra_tokens)
        tokens = self.input_proj(tokens)
        code = None
        if len(places) == 2:
            code = sine_position_code(*places, self.embed_dims, device=tokens.device)
            code = code.to(tokens.dtype)
        for layer in self.encoder:
            tokens, _ = layer(tokens, tokens, code, code)
        labels = self.queries.new_zeros(
            tokens.shape[0], self.num_classes, self.embed_dims
        )
        for layer in self.decoder[:-1]:
            labels, _ = layer(labels, tokens, self.queries, code)
        labels, attention = self.decoder[-1](
            labels, tokens, self.queries, code, return_attention
        )
        if not return_attention:
            return (labels,)
        return labels, attention.unflatten(-1, places)
