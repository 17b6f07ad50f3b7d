# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mlcl_plugin.models import (
    LabelAttentionNeck,
    LabelWiseClsHead,
    LabelWiseContrastiveLoss,
    image_level_contrastive_loss,
)
from mlcl_plugin.models.utils import ContrastiveProjector, LabelWiseScale

# 1 present, 0 absent, -1 unknown; the second image has no label, the last only
# unknown ones.
TARGETS = [
    [1, 0, -1, 1, 0],
    [0, 0, 0, 0, 0],
    [1, -1, 1, 0, 0],
    [0, 1, 1, -1, 1],
    [-1, -1, -1, -1, -1],
]
CONTRAST = dict(type='LabelWiseContrastiveLoss', temperature=0.3, loss_weight=0.7)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(contrast=False, **kwargs):
    args = dict(num_classes=5, in_channels=6)
    if contrast:
        args.update(loss_contrastive=CONTRAST, projector=dict(out_channels=4))
    return LabelWiseClsHead(**{**args, **kwargs}).double()


def features(num_images=5, num_labels=5, width=6):
    return torch.randn(
        num_images, num_labels, width, dtype=torch.float64, requires_grad=True
    )


def samples(targets=TARGETS):
    return [DataSample().set_gt_score(torch.tensor(row).float()) for row in targets]


def bce(logit, target):
    """Binary cross-entropy of one entry, stable, on plain floats."""
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


def contrast_oracle(z, targets, temperature, negatives=()):
    """Over images and labels: the contrast of ``z[image][label]`` by its formula."""
    active = [
        (b, j) for b, row in enumerate(targets) for j, y in enumerate(row) if y == 1
    ]
    total = 0.0
    for b, j in active:
        pull = [(k, j) for k in range(len(targets)) if k != b and targets[k][j] == 1]
        others = [pair for pair in active if pair != (b, j)] + list(negatives)
        denominator = sum(
            math.exp((z[b, j] @ z[k, m]).item() / temperature) for k, m in others
        )
        for k, _ in pull:
            cosine = (z[b, j] @ z[k, j]).item()
            total -= (cosine / temperature - math.log(denominator)) / len(pull)
    return total / len(active) if active else 0.0


def close(value, expected):
    return value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


# --- logits ---------------------------------------------------------------------


def test_logits_equal_separate_linear_layers():
    head = build()
    x = features()
    linears = [nn.Linear(6, 1).double() for _ in range(5)]
    with torch.no_grad():
        for label, linear in enumerate(linears):
            head.classifier.weight[label] = linear.weight[0]
            head.classifier.bias[label] = linear.bias[0]
    expected = torch.cat([linear(x[:, j]) for j, linear in enumerate(linears)], dim=1)
    logits = head((x,))
    assert logits.shape == (5, 5)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)

    weight = torch.randn_like(logits)
    (logits * weight).sum().backward()
    gradient = x.grad.clone()
    x.grad = None
    (expected * weight).sum().backward()
    torch.testing.assert_close(gradient, x.grad, rtol=0, atol=1e-12)
    for label, linear in enumerate(linears):
        torch.testing.assert_close(
            head.classifier.weight.grad[label], linear.weight.grad[0]
        )
        torch.testing.assert_close(
            head.classifier.bias.grad[label], linear.bias.grad[0]
        )


def test_last_stage_is_used():
    head, x = build(), features()
    assert torch.equal(head((torch.zeros(1), x)), head([x]))
    assert torch.equal(head.pre_logits((torch.zeros(1), x)), x)


def test_parameter_count_of_the_paper():
    with torch.device('meta'):
        head = MODELS.build(
            dict(type='LabelWiseClsHead', num_classes=80, loss_contrastive=CONTRAST)
        )
    assert sum(p.numel() for p in head.classifier.parameters()) == 80 * 1025
    assert sum(p.numel() for p in head.projector.parameters()) == (
        1024 * 1025 + 128 * 1025
    )
    assert 'num_classes=80, in_channels=1024' in repr(head.classifier)


def test_initialization():
    head = LabelWiseClsHead(num_classes=80, in_channels=64, loss_contrastive=CONTRAST)
    # Before it is initialised, it is what separate nn.Linear would be.
    assert 0.97 / 8 < head.classifier.weight.abs().max() <= 1 / 8
    assert 0 < head.classifier.bias.abs().max() <= 1 / 8
    head.init_weights()
    layers = [head.classifier, head.projector.fc1, head.projector.fc2]
    for layer in layers:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(layer.weight.mean().item()) < 0.0015
        assert not layer.bias.any()


def test_own_init_cfg():
    head = build(init_cfg=dict(type='Constant', layer='LabelWiseLinear', val=3.0))
    head.init_weights()
    assert (head.classifier.weight == 3).all()


# --- classification loss --------------------------------------------------------


@pytest.mark.parametrize('reduction', [None, 'mean', 'batch', 'sum'])
def test_loss_by_hand(reduction):
    head = build(**({} if reduction is None else dict(loss_reduction=reduction)))
    x = features()
    logits = head((x,)).tolist()
    losses = [
        bce(logits[b][j], y)
        for b, row in enumerate(TARGETS)
        for j, y in enumerate(row)
        if y != -1
    ]
    assert len(losses) == 17
    divisor = {None: 17, 'mean': 17, 'batch': 5, 'sum': 1}[reduction]
    result = head.loss((x,), samples())
    assert set(result) == {'loss_cls'}
    assert close(result['loss_cls'], math.fsum(losses) / divisor)
    # The contract of MMPretrain's heads: the same from logits.
    again = head._get_loss(head((x,)), samples())
    assert set(again) == {'loss_cls'}
    assert close(again['loss_cls'], math.fsum(losses) / divisor)


def test_soft_targets_count_as_known():
    head, x = build(contrast=True), features(2)
    targets = [[1, 0.25, 0, -1, 0.5], [0.75, 1, 1, 0, 0]]
    logits, z = head((x,)).tolist(), head.projector(x)
    known = [
        bce(logits[b][j], y)
        for b, row in enumerate(targets)
        for j, y in enumerate(row)
        if y != -1
    ]
    losses = head.loss((x,), samples(targets))
    assert close(losses['loss_cls'], sum(known) / 9)
    assert close(losses['loss_contrastive'], 0.7 * contrast_oracle(z, targets, 0.3))


LOSSES = [
    dict(type='BinaryCrossEntropyLoss'),
    dict(type='CrossEntropyLoss', use_sigmoid=True),
    dict(type='AsymmetricLoss', gamma_pos=1.0, gamma_neg=4.0, clip=0.05),
    dict(type='FocalLoss', gamma=2.0, alpha=0.25),
]


def entry_loss(cfg, logit, y):
    """The losses of one entry, from their papers."""
    p = 1 / (1 + math.exp(-logit))
    if cfg['type'] == 'AsymmetricLoss':
        shifted = max(p - 0.05, 0)
        return -y * (1 - p) * math.log(p) - (1 - y) * shifted**4 * math.log(1 - shifted)
    if cfg['type'] == 'FocalLoss':
        return -0.25 * y * (1 - p) ** 2 * math.log(p) - 0.75 * (
            1 - y
        ) * p**2 * math.log(1 - p)
    return bce(logit, y)


@pytest.mark.parametrize(
    ('reduction', 'divisor'), [('mean', 17), ('batch', 5), ('sum', 1)]
)
@pytest.mark.parametrize('cfg', LOSSES, ids=lambda cfg: cfg['type'])
def test_losses_of_mmpretrain(cfg, reduction, divisor):
    head = build(loss=dict(cfg, loss_weight=2.0), loss_reduction=reduction)
    x = features()
    logits = head((x,)).tolist()
    expected = sum(
        entry_loss(cfg, logits[b][j], y)
        for b, row in enumerate(TARGETS)
        for j, y in enumerate(row)
        if y != -1
    )
    loss = head.loss((x,), samples())['loss_cls']
    assert loss.item() == pytest.approx(2 * expected / divisor, rel=1e-5)
    loss.backward()
    unknown = torch.tensor(TARGETS) == -1
    assert torch.equal(x.grad[unknown], torch.zeros_like(x.grad[unknown]))
    assert (x.grad[~unknown].abs().sum(-1) > 0).all()


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='CrossEntropyLoss'),
        dict(type='CrossEntropyLoss', use_soft=True),
        # One value a label, yet each depends on all logits.
        dict(type='AsymmetricLoss', use_sigmoid=False),
    ],
)
def test_softmax_loss_is_an_error(cfg):
    with pytest.raises(ValueError, match='use_sigmoid=True'):
        build(loss=cfg)


def test_loss_that_is_not_of_single_entries():
    class Pooled(nn.Module):
        def forward(self, logits, targets, **kwargs):
            return (logits - targets).pow(2).sum(dim=1)

    with pytest.raises(ValueError, match=r'shape \(5,\).*each of the \(5, 5\)'):
        build(loss=Pooled()).loss((features(),), samples())


def test_loss_modules_are_taken_as_they_are():
    loss = MODELS.build(dict(type='FocalLoss'))
    contrast = LabelWiseContrastiveLoss(temperature=0.5)
    head = build(loss=loss, loss_contrastive=contrast)
    assert head.loss_module is loss and head.contrastive_module is contrast
    assert isinstance(head.projector, ContrastiveProjector)


def test_arguments_go_on_to_the_loss():
    head, x = build(loss_reduction='sum'), features()
    weight = torch.tensor([[1.0], [0], [0], [2], [0]], dtype=torch.float64)
    logits = head((x,)).tolist()
    expected = sum(
        factor * bce(logits[b][j], y)
        for factor, b in ((1, 0), (2, 3))
        for j, y in enumerate(TARGETS[b])
        if y != -1
    )
    assert close(head.loss((x,), samples(), weight=weight)['loss_cls'], expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    head = build(contrast=True).float()
    x = features().detach().to(dtype)
    expected = head.loss((x.float(),), samples())
    head = head.to(dtype)
    x.requires_grad_()
    losses = head.loss((x,), samples())
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected[name], rtol=0.03, atol=0)
    sum(losses.values()).backward()
    assert x.grad.isfinite().all()


# --- contrastive loss -----------------------------------------------------------


@pytest.mark.parametrize(
    'targets',
    [
        TARGETS,
        [[0, 0, 0, 0, 0]] * 3,
        [[-1, -1, -1, -1, -1]] * 2,
        [[0, -1, 1, -1, 0], [-1, -1, -1, 0, 0]],
        [[1, 1, -1, 1, 0]],
        [[1] * 5] * 4,
        [[1, 0, -1, 0, 0], [0, 1, 0, 0, -1], [-1, 0, 0, 1, 0]],
        [[-1, 1, 0, 0, -1]] * 5,
    ],
)
def test_contrast_by_hand(targets):
    head, x = build(contrast=True), features(len(targets))
    z = head.projector(x)
    losses = head.loss((x,), samples(targets))
    assert set(losses) == {'loss_cls', 'loss_contrastive'}
    expected = 0.7 * contrast_oracle(z, targets, 0.3)
    assert close(losses['loss_contrastive'], expected)


def test_only_present_labels_are_contrasted():
    head, x = build(contrast=True), features()
    head.loss((x,), samples())['loss_contrastive'].backward()
    present = torch.tensor(TARGETS) == 1
    assert torch.equal(x.grad[~present], torch.zeros_like(x.grad[~present]))
    assert (x.grad[present].abs().sum(-1) > 0).any()
    # No gradient but the projector's.
    assert head.classifier.weight.grad is None
    assert head.projector.fc1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('min_contrast_size', [0, 7, 8, 9, 11, 12, 17, 1000])
def test_min_contrast_size(min_contrast_size):
    """Hardest absent labels by logit; unknown and soft ones are never used."""
    targets = [list(row) for row in TARGETS]
    targets[1] = [0, 0.5, 0, 0, 0.5]
    head = build(contrast=True, min_contrast_size=min_contrast_size)
    x = features()
    with torch.no_grad():
        # Entries that must not be taken would be the first to be.
        for b, row in enumerate(targets):
            for j, y in enumerate(row):
                if y not in (0, 1):
                    x[b, j] = 50 * head.classifier.weight[j]
    logits, z = head((x,)).tolist(), head.projector(x)
    absent = [
        (b, j) for b, row in enumerate(targets) for j, y in enumerate(row) if y == 0
    ]
    absent.sort(key=lambda pair: -logits[pair[0]][pair[1]])
    num_active = sum(row.count(1) for row in targets)
    assert (num_active, len(absent)) == (7, 8)
    negatives = absent[: max(min_contrast_size - num_active, 0)]

    loss = head.loss((x,), samples(targets))['loss_contrastive']
    assert close(loss, 0.7 * contrast_oracle(z, targets, 0.3, negatives))
    loss.backward()
    for b, row in enumerate(targets):
        for j, y in enumerate(row):
            if y != 1:
                assert bool(x.grad[b, j].any()) == ((b, j) in negatives)
    # The choice by logit is no path for gradients.
    assert head.classifier.weight.grad is None


@pytest.mark.parametrize('targets', [[[1] * 5] * 2, [[1, -1, 1, -1, 1]] * 2])
def test_min_contrast_size_without_absent_labels(targets):
    head, x = build(contrast=True, min_contrast_size=100), features(2)
    losses = head.loss((x,), samples(targets))
    expected = 0.7 * contrast_oracle(head.projector(x), targets, 0.3)
    assert close(losses['loss_contrastive'], expected)


@pytest.mark.parametrize('min_contrast_size', [0, 3])
@pytest.mark.parametrize(
    'targets',
    [
        [[0] * 5] * 2,
        [[-1] * 5] * 2,
        [[0, 0, 1, 0, 0], [0] * 5],
        [[1, -1, 0, 0, 0], [0, 1, 0, 0, -1]],
    ],
    ids=['no_label', 'all_unknown', 'one_label', 'no_pair'],
)
def test_every_parameter_gets_a_gradient(targets, min_contrast_size):
    """Or else distributed training waits for it."""
    neck = LabelAttentionNeck(5, 8, embed_dims=6, num_heads=2)
    head = build(contrast=True, min_contrast_size=min_contrast_size).float()
    losses = head.loss(neck(torch.randn(2, 8, 2, 2)), samples(targets))
    assert losses['loss_contrastive'].item() == 0
    sum(losses.values()).backward()
    for name, parameter in [*neck.named_parameters(), *head.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for parameter in head.projector.parameters():
        assert not parameter.grad.any()
    if targets[0][0] == -1 and targets[0] == [-1] * 5:
        assert losses['loss_cls'].item() == 0
        assert not any(p.grad.any() for p in neck.parameters())


def test_gt_label_equals_gt_score():
    head, x = build(contrast=True), features(3)
    scores = [[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]]
    labels = [[3, 0], [], [0, 2]]
    by_label = [DataSample().set_gt_label(label) for label in labels]
    a, b = head.loss((x,), samples(scores)), head.loss((x,), by_label)
    assert set(a) == set(b)
    for name in a:
        assert a[name].item() > 0
        assert torch.equal(a[name], b[name])


def test_training_separates_the_labels():
    head = build(contrast=True).float()
    x = nn.Parameter(torch.randn(4, 5, 6))
    targets = [[1, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, -1, 0, 1]]
    optimizer = torch.optim.SGD([x, *head.parameters()], lr=0.5)
    totals = []
    for _ in range(30):
        total = sum(head.loss((x,), samples(targets)).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


# --- groups ---------------------------------------------------------------------

# Groups of 5, 3, 2 and 2 labels; four groups are one more than the labels fill.
SIZES = {1: 5, 2: 3, 3: 2, 4: 2}


def group_embeddings(head, x, num_groups):
    """Label by label, the projections ``(B, L, P)`` of labels that share groups."""
    rows = []
    for image in x:
        row = [
            image[label // SIZES[num_groups]] * head.label_scale.weight[label]
            for label in range(5)
        ]
        rows.append(torch.stack([head.projector(embedding) for embedding in row]))
    return torch.stack(rows)


@pytest.mark.parametrize('num_groups', SIZES)
def test_groups_by_hand(num_groups):
    head = build(contrast=True, num_groups=num_groups)
    x = features(num_labels=num_groups)
    logits, scale = head((x,)), head.label_scale.weight
    with torch.no_grad():
        scale.mul_(1 + torch.rand_like(scale))
    for b in range(5):
        for label in range(5):
            logit = head.classifier.weight[label] @ x[b, label // SIZES[num_groups]]
            logit = logit + head.classifier.bias[label]
            assert close(logits[b, label], logit.item())

    losses = head.loss((x,), samples())
    known = [
        bce(logits[b, label].item(), y)
        for b, row in enumerate(TARGETS)
        for label, y in enumerate(row)
        if y != -1
    ]
    assert close(losses['loss_cls'], sum(known) / 17)
    z = group_embeddings(head, x, num_groups)
    expected = 0.7 * contrast_oracle(z, TARGETS, 0.3)
    assert close(losses['loss_contrastive'], expected)


@pytest.mark.parametrize('min_contrast_size', [9, 17])
def test_groups_with_min_contrast_size(min_contrast_size):
    head = build(contrast=True, num_groups=2, min_contrast_size=min_contrast_size)
    x = features(num_labels=2)
    logits, z = head((x,)).tolist(), group_embeddings(head, x, 2)
    absent = [
        (b, j) for b, row in enumerate(TARGETS) for j, y in enumerate(row) if y == 0
    ]
    absent.sort(key=lambda pair: -logits[pair[0]][pair[1]])
    negatives = absent[: min_contrast_size - 7]
    loss = head.loss((x,), samples())['loss_contrastive']
    assert close(loss, 0.7 * contrast_oracle(z, TARGETS, 0.3, negatives))


@pytest.mark.parametrize('contrast', [False, True])
def test_a_group_a_label_is_the_plain_form(contrast):
    head, plain = build(contrast=contrast, num_groups=5), build(contrast=contrast)
    plain.load_state_dict(head.state_dict())
    x = features()
    ours, theirs = head.loss((x,), samples()), plain.loss((x,), samples())
    for name in theirs:
        assert torch.equal(ours[name], theirs[name])
    ours, theirs = (
        torch.autograd.grad(sum(losses.values()), x) for losses in (ours, theirs)
    )
    assert torch.equal(ours[0], theirs[0])


def test_groups_gradcheck():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = build(contrast=True, num_groups=2)

        def forward(self, x):
            return sum(self.head.loss((x,), samples(TARGETS[:4])).values())

    loss = Loss()
    names, parameters = zip(*loss.named_parameters())

    def call(x, *values):
        return torch.func.functional_call(loss, dict(zip(names, values)), (x,))

    x = features(4, num_labels=2)
    assert torch.autograd.gradcheck(call, (x, *parameters))


def test_unknown_labels_of_groups_get_no_gradient():
    head, x = build(contrast=True, num_groups=2), features(3, num_labels=2)
    # Label 1 is unknown everywhere, and so is all of the group of labels 3 and 4 in
    # the first image.
    targets = [[1, -1, 0, -1, -1], [0, -1, 1, 1, 0], [1, -1, 1, 0, 1]]
    sum(head.loss((x,), samples(targets)).values()).backward()
    for weight in (head.classifier.weight, head.label_scale.weight):
        assert not weight.grad[1].any()
        assert (weight.grad[[0, 2, 3, 4]].abs().sum(-1) > 0).any()
    assert head.classifier.bias.grad[1] == 0
    assert not x.grad[0, 1].any()
    assert (x.grad.abs().sum(-1) > 0).sum() == 5


def test_factors_of_labels_that_share_an_embedding():
    head = build(contrast=True, num_groups=2)
    assert isinstance(head.label_scale, LabelWiseScale)
    before = head.label_scale.weight.clone()
    assert before.shape == (5, 6) and (before.abs() == 1).all()
    head.init_weights()
    assert torch.equal(head.label_scale.weight, before)
    # Not without contrast, nor where no label shares an embedding.
    for head in (
        build(num_groups=2),
        build(contrast=True),
        build(contrast=True, num_groups=5),
    ):
        assert head.label_scale is None
        assert not any('label_scale' in name for name in head.state_dict())


def test_checkpoint_with_factors_without_contrast():
    source, target = build(contrast=True, num_groups=2), build(num_groups=2)
    target.load_state_dict(source.state_dict())
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


def test_checkpoint_with_memory_without_contrast():
    memory = dict(type='EmbeddingMemory', size=8, embed_dims=4)
    source = build(contrast=True, loss_contrastive=dict(CONTRAST, memory=memory))
    assert any(name.startswith('contrastive_module.') for name in source.state_dict())
    build().load_state_dict(source.state_dict())


@pytest.mark.parametrize('num_groups', [None, 3, 5])
def test_groups_in_bfloat16(num_groups):
    neck = LabelAttentionNeck(5, 16, embed_dims=16, num_heads=2, num_groups=num_groups)
    head = build(contrast=True, num_groups=num_groups, in_channels=16).float()
    x = torch.randn(5, 16, 2, 2)
    expected = head.loss(neck(x), samples())
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss(neck(x), samples())
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected[name], rtol=0.05, atol=0)
    sum(losses.values()).backward()
    for module in (neck, head):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


# --- the label axis -------------------------------------------------------------


@pytest.mark.parametrize('num_groups', [None, 2])
@pytest.mark.parametrize('min_contrast_size', [0, 10])
def test_only_contrasted_labels_are_projected(num_groups, min_contrast_size):
    head = build(
        contrast=True, num_groups=num_groups, min_contrast_size=min_contrast_size
    )
    rows = []
    for layer in (head.projector.fc1, head.projector.fc2):
        layer.register_forward_hook(lambda layer, args, out: rows.append(len(args[0])))
    head.loss((features(num_labels=num_groups or 5),), samples())
    # Of 25 labels in five images, 7 are present.
    expected = [7, 7] if min_contrast_size == 0 else [3, 3, 7, 7]
    assert sorted(rows) == expected


@pytest.mark.parametrize('num_groups', [None, 4])
def test_no_loop_over_labels(record_ops, num_groups):
    """As many operations for 64 labels as for 8."""
    counts = []
    for num_classes in (8, 64):
        head = build(contrast=True, num_classes=num_classes, num_groups=num_groups)
        x = features(3, num_groups or num_classes)
        given = [DataSample().set_gt_label([0, label]) for label in (1, 2, 3)]
        with record_ops() as ops:
            sum(head.loss((x,), given).values()).backward()
        counts.append(len(ops.names))
    assert counts[0] == counts[1]


def test_groups_form_no_embeddings_of_labels(record_ops):
    num_images, num_classes, width = 16, 64, 32
    head = build(
        contrast=True, num_classes=num_classes, in_channels=width, num_groups=8
    )
    x = features(num_images, 8, width)
    given = [DataSample().set_gt_label([i, i + 20]) for i in range(num_images)]
    with record_ops() as ops:
        sum(head.loss((x,), given).values()).backward()
    assert max(ops.sizes) < num_images * num_classes * width / 4


# --- projector ------------------------------------------------------------------


def test_projector():
    projector = ContrastiveProjector(6, hidden_channels=7, out_channels=4).double()
    x = features(2)
    z = projector(x)
    assert z.shape == (2, 5, 4)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(2, 5, dtype=torch.float64))
    for row, result in zip(x.flatten(0, 1), z.flatten(0, 1)):
        hidden = (projector.fc1.weight @ row + projector.fc1.bias).clamp(min=0)
        out = projector.fc2.weight @ hidden + projector.fc2.bias
        expected = out / out.pow(2).sum().sqrt()
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    assert projector.bfloat16()(x.bfloat16()).dtype == torch.float32


def test_projector_widths():
    head = build(contrast=True)
    assert head.projector.fc1.weight.shape == (6, 6)
    assert head.projector.fc2.weight.shape == (4, 6)
    head = build(contrast=True, projector=dict(hidden_channels=7, out_channels=3))
    assert head.projector.fc1.weight.shape == (7, 6)
    assert head.projector.fc2.weight.shape == (3, 7)
    head = build(loss_contrastive=CONTRAST)
    assert head.projector.fc2.out_features == 128


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
@pytest.mark.parametrize('nested', [False, True])
def test_checkpoint_with_projector_without_contrast(load, nested):
    source, target = build(contrast=True), build()
    assert target.projector is None and target.contrastive_module is None
    assert not any('projector' in name for name in target.state_dict())
    if nested:
        source, target = (
            nn.ModuleDict(dict(head=source)),
            nn.ModuleDict(dict(head=target)),
        )
    state = source.state_dict()
    keys = list(state)
    assert sum('projector' in key for key in keys) == 4
    if load == 'torch':
        target.load_state_dict(state, strict=True)
    else:
        load_state_dict(target, state, strict=True)
    assert list(state) == keys
    for name, value in target.state_dict().items():
        assert torch.equal(value, state[name])


def test_checkpoint_checks_stay_strict():
    state = build(contrast=True).state_dict()
    with pytest.raises(RuntimeError, match='surplus'):
        build().load_state_dict({**state, 'surplus.weight': torch.zeros(1)})
    with pytest.raises(RuntimeError, match='projector.fc1.weight'):
        build(contrast=True).load_state_dict(build().state_dict())
    build(contrast=True).load_state_dict(state)


# --- predictions ----------------------------------------------------------------


def constant_head(logits, **kwargs):
    """A head that gives these logits to embeddings of zeros."""
    head = build(**kwargs)
    nn.init.zeros_(head.classifier.weight)
    head.classifier.bias.data = torch.tensor(logits, dtype=torch.float64)
    return head


LOGITS = [2.0, -1.0, 0.0, 0.5, -3.0]


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(), [0, 2, 3]),
        (dict(thr=0.6), [0, 3]),
        (dict(thr=0.99), []),
        (dict(thr=0.0), [0, 1, 2, 3, 4]),
        (dict(topk=2), [0, 3]),
        (dict(topk=1), [0]),
        (dict(topk=5), [0, 3, 2, 1, 4]),
        (dict(topk=1, thr=0.2), [0, 1, 2, 3]),
    ],
)
def test_predict(options, expected):
    head = constant_head(LOGITS, **options)
    predictions = head.predict((features(2),))
    assert len(predictions) == 2
    for prediction in predictions:
        assert prediction.pred_label.tolist() == expected
        scores = [1 / (1 + math.exp(-logit)) for logit in LOGITS]
        assert prediction.pred_score.tolist() == pytest.approx(scores, abs=1e-12)


def test_predict_fills_given_samples():
    head, x = build(), features()
    given = samples()
    predictions = head.predict((x,), given)
    for b, (sample, prediction) in enumerate(zip(given, predictions, strict=True)):
        assert prediction is sample
        assert sample.gt_score.tolist() == TARGETS[b]
        torch.testing.assert_close(sample.pred_score, head((x,))[b].sigmoid())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_predict_scores_of_half_logits_are_float32(dtype):
    logits = [8.0, 8.5, 9.0, 9.5, 10.0]
    head = constant_head(logits).to(dtype)
    (prediction,) = head.predict((torch.zeros(1, 5, 6, dtype=dtype),))
    assert prediction.pred_score.dtype == torch.float32
    torch.testing.assert_close(prediction.pred_score, torch.tensor(logits).sigmoid())
    # In the precision of the logits, labels of different logits would tie.
    assert len(prediction.pred_score.unique()) == 5
    assert len(torch.tensor(logits, dtype=dtype).sigmoid().unique()) < 5


# --- errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_classes=0), 'num_classes=0'),
        (dict(in_channels=-1), 'in_channels=-1'),
        (dict(loss_reduction='none'), "'mean', 'batch' or 'sum', got 'none'"),
        (dict(topk=0), 'topk must be from 1 to num_classes=5, got 0'),
        (dict(topk=6), 'topk must be from 1 to num_classes=5, got 6'),
        (dict(min_contrast_size=-1), 'min_contrast_size must not be negative, got -1'),
        (dict(loss_contrastive=dict(CONTRAST, temperature=0)), 'temperature'),
        (dict(num_groups=0), 'num_groups must be from 1 to num_classes=5, got 0'),
        (dict(num_groups=6), 'num_groups must be from 1 to num_classes=5, got 6'),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        build(**args)


@pytest.mark.parametrize(
    'shape', [(2, 5, 7), (2, 4, 6), (2, 5), (2, 6, 5), (2, 2, 5, 6)]
)
def test_bad_features(shape):
    head = build()
    x = torch.zeros(shape, dtype=torch.float64)
    for call in (head, head.predict, lambda feats: head.loss(feats, samples())):
        with pytest.raises(ValueError, match='num_classes=5, in_channels=6') as error:
            call((x,))
        assert f'got {shape}' in str(error.value)


@pytest.mark.parametrize(('of_neck', 'of_head'), [(None, 2), (2, None), (3, 2)])
def test_groups_of_neck_and_head_disagree(of_neck, of_head):
    neck = LabelAttentionNeck(5, 8, embed_dims=6, num_heads=2, num_groups=of_neck)
    head = build(num_groups=of_head).float()
    hint = 'Set num_classes, num_groups and embed_dims of the neck'
    with pytest.raises(ValueError, match=hint) as error:
        head(neck(torch.randn(2, 8, 2, 2)))
    expected = 'num_classes=5' if of_head is None else f'num_groups={of_head}'
    assert f'(B, {expected}, in_channels=6)' in str(error.value)
    assert f'got {(2, of_neck or 5, 6)}' in str(error.value)


@pytest.mark.parametrize('num_images', [1, 4, 10])
def test_number_of_samples(num_images):
    message = f'Got {num_images} images but 5 data samples'
    with pytest.raises(ValueError, match=message) as error:
        build().loss((features(num_images),), samples())
    assert 'MultiViewDataPreprocessor' in str(error.value)


@pytest.mark.parametrize(
    ('sample', 'message'),
    [
        (DataSample().set_gt_label([0, 5]), 'label 5.*from 0 to 4'),
        (DataSample().set_gt_label([0, 1, 0, 1, 0]), 'looks like a vector with one'),
        (DataSample().set_gt_score([0.0, 1.0]), r'\(2,\).*num_classes=5'),
        (DataSample().set_gt_score([0.0, 2.0, 0.0, 0.0, 1.0]), '2.0 for label 1'),
        (DataSample(), 'neither gt_score nor gt_label'),
    ],
)
def test_bad_targets(sample, message):
    head, x = build(), features(2)
    batch = [DataSample().set_gt_label([1]), sample]
    with pytest.raises(ValueError, match=message):
        head.loss((x,), batch)
    with pytest.raises(ValueError, match=message):
        head._get_loss(head((x,)), batch)


def test_contrast_of_whole_images():
    """The loss gets the projected mean of the label embeddings, and all targets."""
    torch.manual_seed(0)
    contrast = dict(type='ImageLevelContrastiveLoss', rule='jaccard', loss_weight=0.3)
    head = LabelWiseClsHead(
        num_classes=3,
        in_channels=8,
        loss_contrastive=contrast,
        projector=dict(out_channels=4),
    ).double()
    feats = torch.randn(4, 3, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, 0, 1], [1, -1, 0], [0, 1, 1], [0, 0, 0]]).double()
    samples = [DataSample().set_gt_score(row) for row in targets]
    losses = head.loss((feats,), samples)
    z = head.projector(feats.mean(dim=1))
    expected = 0.3 * image_level_contrastive_loss(z, targets, 'jaccard')
    torch.testing.assert_close(losses['loss_contrastive'], expected, rtol=0, atol=1e-12)
    assert expected > 0
    losses['loss_contrastive'].backward()
    assert (feats.grad.abs().sum(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize(
    'name', ['ImageLevelContrastiveLoss', 'WithinLabelContrastiveLoss']
)
def test_losses_without_further_negatives(name):
    with pytest.raises(ValueError, match=f'{name} takes no further negatives'):
        LabelWiseClsHead(3, 8, loss_contrastive=dict(type=name), min_contrast_size=9)
