# SPDX-License-Identifier: Apache-2.0
"""Axes onto which vectors are projected to store fewer numbers."""

import torch
from torch import Tensor


def principal_axes(vectors: Tensor, dims: int) -> Tensor:
    """The orthonormal axes that keep most of the inner products of vectors.

    These are the leading eigenvectors of the matrix of second moments, apart for every
    group. The mean is not subtracted: cosines between projected vectors approximate
    those between the vectors themselves, so that a temperature keeps its meaning.

    Args:
        vectors (Tensor): ``(N, G, D)``, G groups of N vectors.
        dims (int): Number of axes P, at most D.

    Returns:
        Tensor: ``(G, P, D)`` float32.

    Raises:
        ValueError: If there are fewer than ``dims`` coordinates.
    """
    width = vectors.shape[-1]
    if dims > width:
        raise ValueError(
            f'dims must be at most the width of the vectors, got dims={dims} for a '
            f'width of {width}. Set dims=None to store the vectors as they are.'
        )
    axes = []
    # Group by group: the matrices of all groups may not fit into memory.
    for group in vectors.unbind(dim=1):
        group = group.double()
        values = torch.linalg.eigh(group.T @ group).eigenvectors
        # Eigenvalues rise.
        axes.append(values[:, width - dims :].flip(1).T)
    return torch.stack(axes).float()
