# SPDX-License-Identifier: Apache-2.0
"""Check that features are one vector per image."""

from collections.abc import Sequence

import torch


def to_vectors(feats: Sequence[torch.Tensor], in_channels: int) -> torch.Tensor:
    """Return the last features if they are one vector per image.

    Args:
        feats (Sequence[Tensor]): The output of neck or backbone.
        in_channels (int): Channels C.

    Returns:
        Tensor: ``(B, C)``.

    Raises:
        ValueError: If they have another shape.
    """
    vectors = feats[-1]
    if tuple(vectors.shape[1:]) != (in_channels,):
        raise ValueError(
            f'The head expects pooled features (B, in_channels={in_channels}), got '
            f"{tuple(vectors.shape)}. Set the neck to dict(type='GlobalAveragePooling')"
            " or dict(type='GlobalMaxPooling'), and in_channels of the head to the "
            "backbone's channels."
        )
    return vectors
