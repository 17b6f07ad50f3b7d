# SPDX-License-Identifier: Apache-2.0
import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mlcl_plugin.models import LabelWiseClsHead, label_wise_contrastive_loss
from mlcl_plugin.models.heads.sadcl_head import SADCLHead
from mlcl_plugin.models.losses.prototype_contrastive_loss import (
    PrototypeContrastiveLoss,
)
from mlcl_plugin.models.necks.label_query_decoder import LabelQueryDecoder
from mlcl_plugin.models.necks.ml_decoder import MLDecoderNeck

# Values and gradients of the authors' implementation, in float64.
DATA = Path(__file__).parents[2] / 'data' / 'sadcl_reference.npz'
# 1 present, 0 absent, -1 unknown; the second image has no label, the last only
# unknown ones; no image has the last label.
TARGETS = [
    [1, 0, -1, 1, 0],
    [0, 0, 0, 0, 0],
    [1, -1, 1, 0, 0],
    [0, 1, 1, 1, 0],
    [-1, -1, -1, -1, -1],
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(**kwargs):
    args = dict(
        num_classes=5, in_channels=6, projector=dict(out_channels=4), num_slots=5
    )
    return SADCLHead(**{**args, **kwargs}).double()


def features(num_images=5):
    return torch.randn(num_images, 5, 6, dtype=torch.float64, requires_grad=True)


def samples(targets=TARGETS):
    return [DataSample().set_gt_score(torch.tensor(row).float()) for row in targets]


def other_memory(head):
    """A memory in which no two entries are alike, as after some batches."""
    head.memory.copy_(torch.randn_like(head.memory))
    return head.memory.double()


def sscl_oracle(head, x, targets, temperature):
    """Over all pairs of (view, image, label): the first view are the images."""
    views = [
        head.projector(x).tolist(),
        head.projector(head.memory.double()).tolist(),
    ]
    active = [
        (views[v][b][label], label)
        for v in range(2)
        for b, row in enumerate(targets)
        for label, y in enumerate(row)
        if y == 1 and b < len(views[v])
    ]
    total = 0.0
    for i, (anchor, label) in enumerate(active):
        others = active[:i] + active[i + 1 :]
        scores = [
            math.fsum(s * t for s, t in zip(anchor, z)) / temperature for z, _ in others
        ]
        denominator = math.log(math.fsum(map(math.exp, scores)) or 1)
        positives = [s for s, (_, other) in zip(scores, others) if other == label]
        total -= sum(s - denominator for s in positives) / max(len(positives), 1)
    return total / len(active) if active else 0.0


def pscl_oracle(head, x, targets, temperature):
    z, p = head.projector(x).tolist(), head.projector(head.prototypes).tolist()
    total, number = 0.0, 0
    for label in range(5):
        scores = [
            (math.fsum(s * t for s, t in zip(z[b][label], p[label])) / temperature, y)
            for b, y in enumerate(row[label] for row in targets)
            if y != -1
        ]
        if not scores:
            continue
        exps = [math.exp(s) for s, y in scores if y == 1]
        number += len(exps)
        pull = math.fsum(exps) if exps else math.exp(max(scores)[0])
        total += math.log(math.fsum(math.exp(s) for s, _ in scores)) - math.log(pull)
    return total / number if number else 0.0


def close(value, expected):
    return value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


# --- losses ---------------------------------------------------------------------


def test_reference_of_the_contrast_between_samples():
    """Features and memory, stacked; the head does the same with its projections."""
    with np.load(DATA) as data:
        z, labels, temperature, expected, grad_z = (
            torch.from_numpy(np.asarray(data[f'sadcl_sscl_one_view/{name}']))
            for name in ['z', 'labels', 'temperature', 'loss_without_shift', 'grad_z']
        )
    assert len(z) == 12 and torch.equal(labels[:6], labels[6:])
    z.requires_grad_()
    active = labels == 1
    loss = label_wise_contrastive_loss(
        F.normalize(z, dim=-1)[active], active.nonzero()[:, 1], float(temperature)
    )
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    loss.backward()
    torch.testing.assert_close(z.grad, grad_z, rtol=0, atol=1e-10)


BATCHES = dict(
    all_sorts=TARGETS,
    no_label=[[0, 0, 0, 0, 0]] * 3,
    all_unknown=[[-1, -1, -1, -1, -1]] * 2,
    one_label=[[0, -1, 1, -1, 0], [-1, -1, -1, 0, 0]],
    one_image=[[1, 1, -1, 1, 0]],
    all_labels=[[1] * 5] * 4,
    # Images beyond the last slot.
    large=[*TARGETS, *TARGETS[::-1]],
)


@pytest.mark.parametrize('name', BATCHES)
def test_losses_by_hand(name):
    targets = BATCHES[name]
    head, x = build(), features(len(targets))
    other_memory(head)
    expected = dict(
        loss_cls=LabelWiseClsHead.classification_loss(
            head, head((x,)), torch.tensor(targets)
        ).item(),
        loss_contrastive=0.1 * sscl_oracle(head, x, targets, 0.2),
        loss_prototype=0.05 * pscl_oracle(head, x, targets, 0.07),
    )
    losses = head.loss((torch.zeros(1), x), samples(targets))
    assert set(losses) == set(expected)
    for key, loss in losses.items():
        assert close(loss, expected[key]), key
    if name in ('all_sorts', 'large'):
        assert all(value > 0 for value in expected.values())

    sum(losses.values()).backward()
    unknown = torch.tensor(targets) == -1
    assert not x.grad[unknown].any()
    for name, parameter in head.named_parameters():
        # Or else distributed training waits for it.
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_configs_of_the_losses():
    head = build(
        loss=dict(type='FocalLoss'),
        loss_reduction='sum',
        loss_contrastive=dict(
            type='LabelWiseContrastiveLoss', temperature=0.5, loss_weight=3.0
        ),
        loss_prototype=dict(
            type='PrototypeContrastiveLoss', temperature=0.3, loss_weight=2.0
        ),
    ).eval()
    x = features()
    other_memory(head)
    losses = head.loss((x,), samples())
    plain = LabelWiseClsHead(5, 6, loss=dict(type='FocalLoss'), loss_reduction='sum')
    plain.double().classifier.load_state_dict(head.classifier.state_dict())
    assert torch.equal(losses['loss_cls'], plain.loss((x,), samples())['loss_cls'])
    assert close(losses['loss_contrastive'], 3 * sscl_oracle(head, x, TARGETS, 0.5))
    assert close(losses['loss_prototype'], 2 * pscl_oracle(head, x, TARGETS, 0.3))


def test_registered_with_the_defaults_of_the_method():
    with torch.device('meta'):
        head = MODELS.build(dict(type='SADCLHead', num_classes=80))
    assert head.prototypes.shape == (80, 2048)
    assert head.memory.shape == (32, 80, 2048)
    assert head.projector.fc1.weight.shape == (2048, 2048)
    assert head.projector.fc2.weight.shape == (1024, 2048)
    contrast, prototype = head.contrastive_module, head.prototype_module
    assert (contrast.temperature, contrast.loss_weight) == (0.2, 0.1)
    assert not contrast.across_processes
    assert isinstance(prototype, PrototypeContrastiveLoss)
    assert (prototype.temperature, prototype.loss_weight) == (0.07, 0.05)
    assert head.memory_thr == 0.8


def test_gradcheck():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = build()

        def forward(self, x):
            return sum(self.head.loss((x,), samples(targets)).values())

    # Each label has an image: else a maximum is held fixed.
    targets = [[1, 0, -1, 1, 1], [0, 1, 1, 0, -1], [1, 1, 0, 0, 0]]
    # The memory must not change between the calls.
    loss = Loss().eval()
    other_memory(loss.head)
    names, values = zip(*loss.named_parameters())

    def call(x, *values):
        return torch.func.functional_call(loss, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (features(3), *values), fast_mode=True)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    head, x = build().float(), features().detach().float()
    other_memory(head)
    head.eval()
    expected = head.loss((x,), samples())
    with torch.autocast('cpu', dtype):
        cast = head.loss((x,), samples())
    half = head.to(dtype).loss((x.to(dtype).requires_grad_(),), samples())
    for losses in (cast, half):
        for name, loss in losses.items():
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss, expected[name], rtol=0.05, atol=0)
    sum(half.values()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_training_separates_the_labels():
    head = build().float()
    x = nn.Parameter(torch.randn(4, 5, 6))
    optimizer = torch.optim.SGD([x, *head.parameters()], lr=0.3)
    totals = []
    for _ in range(30):
        total = sum(head.loss((x,), samples(TARGETS[:4])).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.8 * totals[0]


# --- memory ---------------------------------------------------------------------


@pytest.mark.parametrize('num_images', [1, 3, 5, 10])
def test_what_is_remembered(num_images):
    targets = [*TARGETS, *TARGETS][:num_images]
    head, x = build(memory_thr=0.6), features(num_images)
    with torch.no_grad():
        head.classifier.weight.normal_()
    before = other_memory(head)
    logits = head((x,)).tolist()
    head.loss((x,), samples(targets))
    changed = 0
    for slot in range(5):
        for label in range(5):
            sure = (
                slot < num_images
                and targets[slot][label] == 1
                and 1 / (1 + math.exp(-logits[slot][label])) > 0.6
            )
            expected = x.detach()[slot, label] if sure else before[slot, label]
            torch.testing.assert_close(
                head.memory[slot, label], expected.float(), rtol=0, atol=0
            )
            changed += sure
    if num_images >= 5:
        assert 0 < changed < sum(row.count(1) for row in TARGETS)
    assert not head.memory.requires_grad


def test_remembered_after_the_losses():
    """A batch meets what was there before, the next one meets it."""
    head, x = build(memory_thr=0.0), features()
    expected = sscl_oracle(head, x, TARGETS, 0.2)
    assert close(head.loss((x,), samples())['loss_contrastive'], 0.1 * expected)
    y = features()
    expected = sscl_oracle(head, y, TARGETS, 0.2)
    assert torch.equal(head.memory[0, 3], x[0, 3].float())
    assert close(head.loss((y,), samples())['loss_contrastive'], 0.1 * expected)


def test_nothing_is_remembered_in_evaluation_mode():
    head = build(memory_thr=0.0).eval()
    before = head.memory.clone()
    head.loss((features(),), samples())
    head.predict((features(),))
    assert torch.equal(head.memory, before)


def test_memory_starts_from_the_prototypes():
    head = build()
    head.init_weights()
    assert head.prototypes.std().item() == pytest.approx(1, rel=0.3)
    for slot in head.memory:
        assert torch.equal(slot, head.prototypes.float())
    prototypes = torch.randn(5, 6, dtype=torch.float64)
    head.reset_prototypes(prototypes)
    assert torch.equal(head.prototypes, prototypes)
    for slot in head.memory:
        assert torch.equal(slot, prototypes.float())
    with pytest.raises(ValueError, match=r'\(5, 6\), got \(6, 5\)'):
        head.reset_prototypes(prototypes.T)


def test_checkpoint():
    head = build(memory_thr=0.0)
    head.loss((features(),), samples())
    resumed = build(memory_thr=0.0)
    resumed.load_state_dict(head.state_dict())
    x = features()
    ours, theirs = head.loss((x,), samples()), resumed.loss((x,), samples())
    for name in ours:
        assert torch.equal(ours[name], theirs[name])
    assert torch.equal(head.memory, resumed.memory)


def test_checkpoint_without_contrast():
    """The head of step 1 takes that of step 2 as it is."""
    source = build()
    plain = LabelWiseClsHead(5, 6).double()
    plain.load_state_dict(source.state_dict())
    x = features()
    assert torch.equal(plain((x,)), source((x,)))


@pytest.mark.parametrize('update_buffers', [False, True])
def test_ema_does_not_average_it(update_buffers):
    """An average of embeddings of different images would be neither's."""
    head = build(memory_thr=0.0)
    ema = ExponentialMovingAverage(head, 0.5, update_buffers=update_buffers)
    seen = [head.memory.clone()]
    for _ in range(3):
        ema.update_parameters(head)
        head.loss((features(),), samples())
        seen.append(head.memory.clone())
    assert not torch.equal(seen[0], seen[-1])
    assert any(torch.equal(ema.module.memory, memory) for memory in seen)


# --- in a classifier ------------------------------------------------------------

NECKS = dict(
    LabelQueryDecoder=dict(feedforward_channels=16),
    MLDecoderNeck=dict(num_heads=4, feedforward_channels=16),
)


def classifier(neck, num_classes=3, **kwargs):
    """Config of a whole small network."""
    return dict(
        type='ImageClassifier',
        backbone=dict(
            type='ResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
            num_stages=2,
            strides=(1, 2),
            dilations=(1, 1),
            out_indices=(1,),
        ),
        neck=dict(
            type=neck,
            num_classes=num_classes,
            in_channels=16,
            embed_dims=16,
            **NECKS[neck],
        ),
        head=dict(
            type='SADCLHead',
            num_classes=num_classes,
            in_channels=16,
            projector=dict(out_channels=8),
            num_slots=4,
            **kwargs,
        ),
    )


@pytest.mark.parametrize('neck', NECKS)
def test_training_of_a_classifier(neck):
    model = MODELS.build(classifier(neck, num_classes=5))
    assert isinstance(model.neck, (LabelQueryDecoder, MLDecoderNeck))
    model.init_weights()
    inputs = torch.randn(5, 3, 32, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    totals = []
    for number in range(20):
        losses = model.loss(inputs, samples())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        if number == 0:
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])

    model.eval()
    predictions = model.predict(inputs)
    again = MODELS.build(classifier(neck, num_classes=5)).eval()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    for ours, theirs in zip(predictions, again.predict(inputs)):
        assert torch.equal(ours.pred_score, theirs.pred_score)
    assert torch.equal(model.head.memory, again.head.memory)


class KeepMemory(Hook):
    """Notes the memory at the end of the training, before anything else happens."""

    memory = None

    def after_train(self, runner):
        KeepMemory.memory = runner.model.head.memory_bits.clone()


def test_resume(load_config, record):
    """The memory of the model goes on, neither that of the average nor a new one."""
    changes = dict(
        model=dict(_delete_=True, **classifier('MLDecoderNeck', memory_thr=0.0)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
    )
    cfg = load_config(changes)
    cfg.pop('steps'), cfg.pop('runner_type')
    runner = Runner.from_cfg(cfg)
    runner.register_hook(KeepMemory())
    runner.train()
    start, kept = record.starts()[0].model['head.memory_bits'], KeepMemory.memory
    assert not torch.equal(start, kept)

    cfg.resume, cfg.train_cfg.max_epochs = True, 2
    cfg.experiment_name = 'resumed'
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert torch.equal(record.starts()[1].model['head.memory_bits'], kept)
    assert record.epochs() == [('work', 0), ('work', 1)]


# --- errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_classes=0), 'num_classes=0'),
        (dict(num_slots=0), 'num_slots must be positive, got 0'),
        (dict(memory_thr=1.2), 'memory_thr must lie between 0 and 1, got 1.2'),
        (dict(loss_contrastive=None), 'needs loss_contrastive and loss_prototype'),
        (dict(loss_prototype=None), 'Set loss_weight=0 to do without one'),
        (
            dict(
                loss_contrastive=dict(
                    type='LabelWiseContrastiveLoss',
                    memory=dict(type='EmbeddingMemory', size=9, embed_dims=4),
                )
            ),
            'has a memory of its own',
        ),
        *(
            (dict(loss_contrastive=dict(type=name)), f'which {name} does not')
            for name in ('WithinLabelContrastiveLoss', 'ImageLevelContrastiveLoss')
        ),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        build(**args)


def test_bad_features():
    with pytest.raises(ValueError, match=r'num_classes=5.*got \(2, 4, 6\)'):
        build().loss((torch.zeros(2, 4, 6),), samples(TARGETS[:2]))
    with pytest.raises(ValueError, match='Got 3 images but 5 data samples'):
        build().loss((features(3),), samples())
