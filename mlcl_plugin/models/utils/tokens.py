# SPDX-License-Identifier: Apache-2.0
"""Turn the output of a backbone into a sequence of tokens."""

from collections.abc import Sequence

import torch


def to_tokens(
    feats: torch.Tensor | Sequence[torch.Tensor],
    in_channels: int,
    num_extra_tokens: int = 0,
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Flatten a feature map to tokens, and return the shape of their places.

    Args:
        feats (Tensor | Sequence[Tensor]): The backbone's output; of several stages
            the last one is used. A feature map ``(B, C, H, W)`` or tokens ``(B, N,
            C)``.
        in_channels (int): Channels C.
        num_extra_tokens (int): Leading tokens of token input that are no place of the
            image (class token, registers) and are left out. A feature map has none.
            Defaults to 0.

    Returns:
        tuple[Tensor, tuple[int, ...]]: The tokens ``(B, T, C)``, row by row, and the
        shape of their places, ``(H, W)`` or ``(T,)``.

    Raises:
        ValueError: If the features have another shape than expected.
    """
    if not isinstance(feats, torch.Tensor):
        feats = feats[-1]
    if feats.ndim == 4 and feats.size(1) == in_channels:
        return feats.flatten(2).transpose(1, 2), tuple(feats.shape[2:])
    if feats.ndim == 3 and feats.size(2) == in_channels:
        tokens = feats[:, num_extra_tokens:]
        if tokens.size(1):
            return tokens, (tokens.size(1),)
    advice = (
        "Set the neck's in_channels to the backbone's channels, and let the backbone "
        'return its last feature map without pooling (for a ViT: '
        "out_type='featmap' or 'raw')."
    )
    if feats.ndim == 4 and feats.size(3) == in_channels:
        advice = (
            'The feature map has its channels last. Let the backbone return them as '
            'the second dimension, or permute its output (0, 3, 1, 2).'
        )
    raise ValueError(
        f'Expected a feature map (B, {in_channels}, H, W) or tokens (B, N > '
        f'{num_extra_tokens}, {in_channels}), got {tuple(feats.shape)}. {advice}'
    )
