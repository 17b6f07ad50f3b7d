# SPDX-License-Identifier: Apache-2.0
"""A few centres instead of many unit vectors."""

import torch
import torch.nn.functional as F
from torch import Tensor


def spherical_kmeans(
    vectors: Tensor, num_centres: int, num_iters: int = 20, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Cluster unit vectors by cosine.

    The first centres are drawn as in `k-means++
    <https://dl.acm.org/doi/10.5555/1283383.1283494>`_: each with a probability that
    grows with its distance from those already drawn. A centre is the normalized mean
    of its vectors. Centres without a vector are left out.

    Args:
        vectors (Tensor): ``(N, D)`` unit vectors.
        num_centres (int): The greatest number of centres.
        num_iters (int): The greatest number of iterations. Defaults to 20.
        seed (int): Seed of the draws. Defaults to 0.

    Returns:
        tuple[Tensor, Tensor]: Centres ``(C, D)``, and for each vector ``(N,)`` the
        index of its centre.
    """
    if len(vectors) <= num_centres:
        return vectors, torch.arange(len(vectors), device=vectors.device)
    centres = _first_centres(vectors, num_centres, seed)
    owners = (vectors @ centres.T).argmax(dim=1)
    for _ in range(num_iters):
        sums = torch.zeros_like(centres).index_add_(0, owners, vectors)
        counts = owners.bincount(minlength=num_centres)
        centres = torch.where(counts[:, None] > 0, F.normalize(sums, dim=1), centres)
        last, owners = owners, (vectors @ centres.T).argmax(dim=1)
        if torch.equal(last, owners):
            break
    used, owners = owners.unique(return_inverse=True)
    return centres[used], owners


def _first_centres(vectors: Tensor, num_centres: int, seed: int) -> Tensor:
    """Draw ``(C, D)`` of the vectors as in k-means++."""
    # On the CPU, so that all devices draw the same.
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(vectors), (1,), generator=generator))]
    distances = torch.full((len(vectors),), torch.inf, device=vectors.device)
    while len(chosen) < num_centres:
        # Half the squared distance of unit vectors.
        nearest = 1 - vectors @ vectors[chosen[-1]]
        distances = distances.minimum(nearest.clamp(min=0))
        chances = distances.double().cpu()
        if chances.sum() == 0:
            # All vectors are centres already.
            break
        chosen.append(int(chances.multinomial(1, generator=generator)))
    missing = num_centres - len(chosen)
    return vectors[chosen + chosen[:1] * missing]
