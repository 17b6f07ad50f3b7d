# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mlcl_plugin.models.utils import LabelWiseLinear

# 10 labels: group sizes that go into them or not, one group, all groups, and 7 groups
# of 2, of which the labels fill 5.
GROUPS = [None, 1, 2, 3, 4, 5, 7, 9, 10]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def oracle(layer, x, num_groups):
    """One image and one label at a time."""
    size = 1
    while num_groups and size * num_groups < 10:
        size += 1
    rows = []
    for image in x:
        logits = []
        for label in range(10):
            embedding = image[label // size]
            logits.append(layer.weight[label] @ embedding + layer.bias[label])
        rows.append(torch.stack(logits))
    return torch.stack(rows)


@pytest.mark.parametrize('num_groups', GROUPS)
def test_logits_and_gradients(num_groups):
    layer = LabelWiseLinear(10, 6, num_groups).double()
    assert layer.weight.shape == (10, 6) and layer.bias.shape == (10,)
    x = torch.randn(3, num_groups or 10, 6, dtype=torch.float64, requires_grad=True)
    logits, expected = layer(x), oracle(layer, x, num_groups)
    assert logits.shape == (3, 10)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)

    target = torch.randn(3, 10, dtype=torch.float64)
    leaves = [x, layer.weight, layer.bias]
    ours = torch.autograd.grad((logits * target).sum(), leaves)
    theirs = torch.autograd.grad((expected * target).sum(), leaves)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize('num_groups', [None, 3])
def test_gradcheck(num_groups):
    layer = LabelWiseLinear(5, 3, num_groups).double()
    x = torch.randn(2, num_groups or 5, 3, dtype=torch.float64, requires_grad=True)

    def call(x, weight, bias):
        return torch.func.functional_call(layer, dict(weight=weight, bias=bias), (x,))

    assert torch.autograd.gradcheck(call, (x, layer.weight, layer.bias))


def test_a_group_a_label_is_the_plain_form():
    layer, plain = LabelWiseLinear(10, 6, 10), LabelWiseLinear(10, 6)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 10, 6)
    assert torch.equal(layer(x), plain(x))


@pytest.mark.parametrize('num_groups', [None, 2, 5])
def test_is_no_loop(record_ops, num_groups):
    """As many operations for 100 labels as for 10."""
    counts = []
    for num_classes in (10, 100):
        layer = LabelWiseLinear(num_classes, 4, num_groups)
        x = torch.randn(2, num_groups or num_classes, 4)
        with record_ops() as ops:
            layer(x).sum().backward()
        counts.append(len(ops.names))
    assert counts[0] == counts[1] < 60


@pytest.mark.parametrize('num_groups', [3, 7])
def test_groups_form_no_embeddings_of_labels(record_ops, num_groups):
    num_images, num_classes, width = 20, 40, 8
    layer = LabelWiseLinear(num_classes, width, num_groups)
    x = torch.randn(num_images, num_groups, width, requires_grad=True)
    with record_ops() as ops:
        layer(x).sum().backward()
    assert max(ops.sizes) < num_images * num_classes * width / 4


def test_bad_groups():
    with pytest.raises(ValueError, match='num_groups must be from 1 to num_classes=10'):
        LabelWiseLinear(10, 6, 11)


def test_repr():
    assert 'num_classes=10, in_channels=6, num_groups=10' in repr(
        LabelWiseLinear(10, 6)
    )
    assert 'num_groups=3' in repr(LabelWiseLinear(10, 6, 3))
