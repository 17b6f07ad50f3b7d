# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from mlcl_plugin.models.neighbours.prototypes import spherical_kmeans


def clusters(seed=0):
    """30 vectors near each of four orthogonal directions, and their cluster."""
    generator = torch.Generator().manual_seed(seed)
    members = torch.arange(120) % 4
    noise = 0.1 * torch.randn(120, 6, generator=generator)
    return F.normalize(torch.eye(6)[members] + noise, dim=1), members


@pytest.mark.parametrize('seed', range(5))
def test_finds_clusters(seed):
    vectors, members = clusters(seed)
    centres, owners = spherical_kmeans(vectors, 4, seed=seed)
    assert centres.shape == (4, 6)
    # Each centre has one cluster, and is the normalized mean of its vectors.
    assert len({(int(a), int(b)) for a, b in zip(members, owners)}) == 4
    for centre in range(4):
        mean = F.normalize(vectors[owners == centre].mean(dim=0), dim=0)
        torch.testing.assert_close(centres[centre], mean)


def test_nearest_centre():
    vectors, _ = clusters()
    centres, owners = spherical_kmeans(vectors, 7)
    assert torch.equal((vectors @ centres.T).argmax(dim=1), owners)
    assert sorted(set(owners.tolist())) == list(range(len(centres)))


def test_few_vectors():
    vectors, _ = clusters()
    centres, owners = spherical_kmeans(vectors[:3], 3)
    assert torch.equal(centres, vectors[:3]) and owners.tolist() == [0, 1, 2]


def test_equal_vectors():
    """Fewer centres than wanted, none without a vector."""
    vectors = torch.eye(3)[torch.tensor([0, 1, 0, 1, 0, 0])]
    centres, owners = spherical_kmeans(vectors, 4)
    assert len(centres) == 2
    assert torch.equal(centres[owners], vectors)


def test_repeats():
    vectors, _ = clusters()
    first, second = (spherical_kmeans(vectors, 5, seed=3) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
