# SPDX-License-Identifier: Apache-2.0
import torch

from mlcl_plugin.models.utils import LabelWiseScale


def test_by_hand():
    torch.manual_seed(0)
    scale = LabelWiseScale(4, 3).double()
    with torch.no_grad():
        scale.weight.copy_(torch.randn(4, 3))
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    labels = [2, 0, 2]
    out = scale(x, torch.tensor(labels))
    out.sum().backward()
    for row, label in enumerate(labels):
        for channel in range(3):
            product = x[row, channel] * scale.weight[label, channel]
            assert out[row, channel] == product
            assert x.grad[row, channel] == scale.weight[label, channel]
    torch.testing.assert_close(scale.weight.grad[2], x[0].detach() + x[2].detach())
    torch.testing.assert_close(scale.weight.grad[0], x[1].detach())
    # Labels that were not asked for.
    assert not scale.weight.grad[1].any() and not scale.weight.grad[3].any()
    assert scale(x[:0], torch.zeros(0, dtype=torch.long)).shape == (0, 3)


def test_starts_as_random_signs():
    torch.manual_seed(0)
    scale = LabelWiseScale(50, 400)
    assert set(scale.weight.unique().tolist()) == {-1, 1}
    assert abs(scale.weight.mean().item()) < 0.03
    # Labels that share an embedding start nearly orthogonal, at its own length.
    x = torch.randn(400)
    embeddings = scale(x.expand(50, -1), torch.arange(50))
    cosines = torch.nn.functional.cosine_similarity(
        embeddings[:, None], embeddings[None], dim=-1
    )
    torch.testing.assert_close(embeddings.norm(dim=1), x.norm().expand(50))
    assert (cosines - torch.eye(50)).abs().max() < 0.35
    assert not torch.equal(scale.weight, LabelWiseScale(50, 400).weight)
    assert 'num_classes=50, in_channels=400' in repr(scale)
