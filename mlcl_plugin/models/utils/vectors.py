# SPDX-License-Identifier: Apache-2.0
"""From what a neck gives to one vector for every image."""

from collections.abc import Sequence

import torch


def to_vectors(feats: Sequence[torch.Tensor], in_channels: int) -> torch.Tensor:
    """The last features, checked to be one vector for every image.

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
