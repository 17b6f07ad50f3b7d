# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mlcl_plugin.models.neighbours.principal_axes import principal_axes


def random_vectors():
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([5.0, 0.1, 3.0, 0.2, 2.0])
    return torch.randn(50, 2, 5, generator=generator) * scales


def test_axes():
    """Orthonormal, by falling moment, and none keep more of the inner products."""
    vectors = random_vectors()
    axes = principal_axes(vectors, 3)
    assert axes.shape == (2, 3, 5) and axes.dtype == torch.float32
    for group in range(2):
        own = axes[group]
        torch.testing.assert_close(own @ own.T, torch.eye(3))
        moments = (vectors[:, group] @ own.T).pow(2).sum(dim=0)
        expected = torch.linalg.svdvals(vectors[:, group])[:3] ** 2
        torch.testing.assert_close(moments, expected)
        assert (own[:, [0, 2, 4]].abs().amax(dim=1) > 0.9).all()


def test_all_axes_keep_everything():
    vectors = random_vectors()
    kept = torch.einsum('ngd,gpd->ngp', vectors, principal_axes(vectors, 5))
    products = torch.einsum('ngp,mgp->gnm', kept, kept)
    expected = torch.einsum('ngp,mgp->gnm', vectors, vectors)
    torch.testing.assert_close(products, expected, rtol=1e-4, atol=1e-3)


def test_fewer_vectors_than_axes():
    axes = principal_axes(random_vectors()[:2], 4)
    torch.testing.assert_close(axes[0] @ axes[0].T, torch.eye(4))


def test_too_many():
    with pytest.raises(ValueError, match='dims=6 for a width of 5'):
        principal_axes(random_vectors(), 6)
