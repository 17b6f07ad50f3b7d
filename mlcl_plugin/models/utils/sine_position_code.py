# SPDX-License-Identifier: Apache-2.0
"""Position code of the tokens of a feature map."""

import math

import torch


def sine_position_code(
    height: int,
    width: int,
    embed_dims: int,
    temperature: float = 10000.0,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    r"""Sines and cosines of the place of every token of a feature map.

    The first half of the channels tells the row, the second half the column. With
    :math:`t \in (0, 1]` the place along an axis, :math:`(i + 1) / n` for the
    :math:`i`-th of n, channels :math:`2k` and :math:`2k + 1` of a half of width
    :math:`d = D / 2` are

    .. math::
        \sin(2 \pi t / T^{2k / d}), \quad \cos(2 \pi t / T^{2k / d})

    so that maps of all sizes have codes of the same range.

    Sources: `Attention Is All You Need <https://arxiv.org/abs/1706.03762>`_ for the
    code, `DETR <https://arxiv.org/abs/2005.12872>`_ for images. It
    differs from MMPretrain's ``build_2d_sincos_position_embedding``, which counts
    places, so that a larger map has a larger range, and goes column by column.

    Args:
        height (int): Rows H of the feature map.
        width (int): Columns W.
        embed_dims (int): Channels D, a multiple of 4.
        temperature (float): T, nearly the ratio of the longest wave to the shortest.
            Defaults to 10000.
        device (torch.device | str, optional): The device of the code.

    Returns:
        Tensor: ``(H * W, D)`` float32, row by row.

    Raises:
        ValueError: If ``embed_dims`` is not a multiple of 4.
    """
    check_embed_dims(embed_dims)
    half = embed_dims // 2
    exponents = torch.arange(0, half, 2, dtype=torch.float32, device=device) / half
    waves = temperature**exponents

    def along_axis(length: int) -> torch.Tensor:
        places = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angles = 2 * math.pi / length * places[:, None] / waves
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    rows = along_axis(height)[:, None].expand(height, width, half)
    columns = along_axis(width)[None].expand(height, width, half)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def check_embed_dims(embed_dims: int) -> None:
    """Raise a ``ValueError`` unless a code of this width can be made."""
    if embed_dims < 1 or embed_dims % 4:
        raise ValueError(
            'embed_dims must be a multiple of 4, for sines and cosines of row and '
            f'column, got {embed_dims}.'
        )
