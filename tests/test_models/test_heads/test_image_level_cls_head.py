# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mlcl_plugin.models.classifiers import MomentumClassifier
from mlcl_plugin.models.heads.image_level_cls_head import ImageLevelClsHead
from mlcl_plugin.models.losses.asymmetric_loss import StableAsymmetricLoss
from mlcl_plugin.models.losses.contrast_inputs import Projections
from mlcl_plugin.models.losses.image_embedding_memory import ImageEmbeddingMemory
from mlcl_plugin.models.losses.image_level_contrastive_loss import (
    ImageLevelContrastiveLoss,
)
from mlcl_plugin.models.necks.global_max_pooling import GlobalMaxPooling
from mlcl_plugin.models.utils import ContrastiveProjector

# 1 present, 0 absent, -1 unknown; the second image has no label, the last only
# unknown ones.
TARGETS = [
    [1, 0, -1, 1, 0],
    [0, 0, 0, 0, 0],
    [1, -1, 1, 0, 0],
    [0, 1, 1, -1, 1],
    [-1, -1, -1, -1, -1],
]
CONTRAST = dict(
    type='ImageLevelContrastiveLoss', rule='jaccard', temperature=0.3, loss_weight=0.7
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def build(contrast=False, **kwargs):
    args = dict(num_classes=5, in_channels=6)
    if contrast:
        args.update(loss_contrastive=CONTRAST, projector=dict(out_channels=4))
    return ImageLevelClsHead(**{**args, **kwargs}).double()


def features(number=5):
    return torch.randn(number, 6, dtype=torch.float64, requires_grad=True)


def samples(targets=TARGETS):
    return [DataSample().set_gt_score(torch.tensor(row).float()) for row in targets]


def bce(logit, target):
    return max(logit, 0) - logit * target + math.log1p(math.exp(-abs(logit)))


def jaccard_oracle(z, targets, temperature):
    """SupCon over images that share a label, weighed by what is known in both."""
    images = [i for i, row in enumerate(targets) if max(row) >= 0]
    total = 0.0
    for i in images:
        score = {a: (z[i] @ z[a]).item() / temperature for a in images if a != i}
        log_sum = math.log(sum(math.exp(s) for s in score.values())) if score else 0
        terms = []
        for p in score:
            both = [
                (x, y)
                for x, y in zip(targets[i], targets[p])
                if x in (0, 1) and y in (0, 1)
            ]
            shared = sum(x == y == 1 for x, y in both)
            if shared:
                weight = shared / sum(x == 1 or y == 1 for x, y in both)
                terms.append(weight * (log_sum - score[p]))
        total += sum(terms) / len(terms) if terms else 0
    return total / len(images) if images else 0.0


def close(value, expected):
    return value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


# --- logits ---------------------------------------------------------------------


def test_is_mmpretrains_linear_head():
    """Logits, initialization and names of parameters."""
    theirs = MultiLabelLinearClsHead(5, 6).double()
    ours = build()
    ours.load_state_dict(theirs.state_dict())
    x = features()
    assert torch.equal(ours((torch.zeros(1), x)), theirs((x,)))
    results = []
    for make in (MultiLabelLinearClsHead, ImageLevelClsHead):
        torch.manual_seed(3)
        head = make(num_classes=5, in_channels=6)
        torch.manual_seed(4)
        head.init_weights()
        results.append(head.state_dict())
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name])


def test_initialization():
    head = ImageLevelClsHead(80, 64, loss_contrastive=CONTRAST)
    head.init_weights()
    for layer in (head.fc, head.projector.fc1, head.projector.fc2):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not layer.bias.any()
    head = build(init_cfg=dict(type='Constant', layer='Linear', val=3.0))
    head.init_weights()
    assert (head.fc.weight == 3).all()


# --- losses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ('reduction', 'divisor'), [('mean', 17), ('batch', 5), ('sum', 1)]
)
def test_losses_by_hand(reduction, divisor):
    head, x = build(contrast=True, loss_reduction=reduction), features()
    logits, z = head((x,)).tolist(), head.projector(x)
    known = [
        bce(logits[b][j], y)
        for b, row in enumerate(TARGETS)
        for j, y in enumerate(row)
        if y != -1
    ]
    losses = head.loss((x,), samples())
    assert set(losses) == {'loss_cls', 'loss_contrastive'}
    assert close(losses['loss_cls'], math.fsum(known) / divisor)
    expected = 0.7 * jaccard_oracle(z, TARGETS, 0.3)
    assert expected > 0
    assert close(losses['loss_contrastive'], expected)
    assert set(build().loss((x,), samples())) == {'loss_cls'}


def test_unknown_images_get_no_gradient():
    head, x = build(contrast=True), features()
    sum(head.loss((x,), samples()).values()).backward()
    assert torch.equal(x.grad[4], torch.zeros_like(x.grad[4]))
    assert (x.grad[:4].abs().sum(-1) > 0).all()


def test_contrast_leaves_the_classifier_alone():
    head, x = build(contrast=True), features()
    head.loss((x,), samples())['loss_contrastive'].backward()
    assert head.fc.weight.grad is None
    assert head.projector.fc1.weight.grad.any()


@pytest.mark.parametrize(
    'targets',
    [[[0] * 5] * 2, [[-1] * 5] * 2, [[1] * 5], [[1, 0, 0, 0, 0], [0, 1, 0, 0, -1]]],
    ids=['no_label', 'all_unknown', 'one_image', 'disjoint'],
)
@pytest.mark.parametrize(
    'rule', ['any', 'jaccard', 'mulsupcon', 'similarity_dissimilarity']
)
def test_every_parameter_gets_a_gradient(rule, targets):
    """Or else distributed training waits for it."""
    head = build(contrast=True, loss_contrastive=dict(CONTRAST, rule=rule))
    losses = head.loss((features(len(targets)),), samples(targets))
    assert losses['loss_contrastive'].item() == 0
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_gradcheck():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = build(contrast=True)

        def forward(self, x):
            return sum(self.head.loss((x,), samples()).values())

    loss = Loss()
    names, parameters = zip(*loss.named_parameters())

    def call(x, *values):
        return torch.func.functional_call(loss, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(call, (features(), *parameters))


def test_gt_label_equals_gt_score():
    head, x = build(contrast=True), features(3)
    scores = [[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]]
    by_label = [DataSample().set_gt_label(label) for label in ([3, 0], [], [0, 2])]
    a, b = head.loss((x,), samples(scores)), head.loss((x,), by_label)
    for name in a:
        assert a[name].item() > 0 and torch.equal(a[name], b[name])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    head = build(contrast=True, loss=dict(type='StableAsymmetricLoss')).float()
    x = features().detach().to(dtype)
    expected = head.loss((x.float(),), samples())
    with torch.autocast('cpu', dtype):
        cast = head.loss((x.float(),), samples())
    head = head.to(dtype)
    x.requires_grad_()
    losses = head.loss((x,), samples())
    for name, loss in losses.items():
        for value in (loss, cast[name]):
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, expected[name], rtol=0.05, atol=0)
    sum(losses.values()).backward()
    assert x.grad.isfinite().all()


def test_loss_modules_are_taken_as_they_are():
    loss, contrast = StableAsymmetricLoss(), ImageLevelContrastiveLoss()
    head = build(loss=loss, loss_contrastive=contrast)
    assert head.loss_module is loss and head.contrastive_module is contrast
    assert isinstance(head.projector, ContrastiveProjector)
    assert head.projector.fc2.out_features == 128


# --- keys and memory ------------------------------------------------------------

MEMORY = dict(type='ImageEmbeddingMemory', size=8, num_classes=5, embed_dims=4)


def test_keys_reach_the_loss():
    config = dict(CONTRAST, in_batch=False, memory=MEMORY)
    head, x = build(contrast=True, loss_contrastive=config), features()
    keys = nn.functional.normalize(torch.randn(5, 4).double(), dim=1)
    asked = []

    def image_keys():
        asked.append(torch.is_grad_enabled())
        return keys

    projections = Projections(images=image_keys, labels=None)
    losses = head.loss((x,), samples(), keys=projections)
    assert asked == [False]
    plain = ImageLevelContrastiveLoss('jaccard', 0.3, 0.7, in_batch=False)
    expected = plain(head.projector(x), torch.tensor(TARGETS), keys=keys)
    assert close(losses['loss_contrastive'], expected.item())
    remembered = head.contrastive_module.memory.read()[0]
    torch.testing.assert_close(remembered, keys[:4].float())
    with pytest.raises(ValueError, match='in_batch=False.*MomentumClassifier'):
        head.loss((x,), samples())


@pytest.mark.parametrize('in_batch', [True, False])
def test_momentum_classifier(in_batch):
    """MulSupCon's keys: those of the moving average, with a queue of earlier ones."""
    model = MODELS.build(
        model_config(
            type='MomentumClassifier',
            momentum=0.25,
            loss_contrastive=dict(
                type='ImageLevelContrastiveLoss',
                rule='mulsupcon',
                in_batch=in_batch,
                memory=MEMORY,
            ),
        )
    )
    assert isinstance(model, MomentumClassifier)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        x = torch.randn(5, 3, 32, 32)
        losses = model.loss(x, samples())
        assert losses['loss_contrastive'] > 0
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    # The latest four with a known label are the average's.
    encoder = model.momentum_encoder.module
    with torch.no_grad():
        pooled = encoder['neck'](encoder['backbone'](x))[-1]
        expected = encoder['head'].projector(pooled)[:4]
    remembered, targets = model.head.contrastive_module.memory.read()
    torch.testing.assert_close(remembered[4:], expected)
    assert targets[4:].tolist() == TARGETS[:4]
    trained = model.head.projector(model.extract_feat(x)[-1])[:4]
    assert not torch.allclose(remembered[4:], trained)


# --- checkpoints ----------------------------------------------------------------


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
@pytest.mark.parametrize('nested', [False, True])
def test_checkpoint_with_contrast_without_it(load, nested):
    config = dict(CONTRAST, memory=MEMORY)
    source, target = build(contrast=True, loss_contrastive=config), build()
    assert isinstance(source.contrastive_module.memory, ImageEmbeddingMemory)
    if nested:
        source, target = (nn.ModuleDict(dict(head=head)) for head in (source, target))
    state = source.state_dict()
    keys = list(state)
    assert sum('projector' in key for key in keys) == 4
    assert sum('contrastive_module' in key for key in keys) == 4
    if load == 'torch':
        target.load_state_dict(state, strict=True)
    else:
        load_state_dict(target, state, strict=True)
    assert list(state) == keys
    assert len(target.state_dict()) == 2
    for name, value in target.state_dict().items():
        assert torch.equal(value, state[name])


def test_checkpoint_checks_stay_strict():
    state = build(contrast=True).state_dict()
    with pytest.raises(RuntimeError, match='surplus'):
        build().load_state_dict({**state, 'surplus.weight': torch.zeros(1)})
    with pytest.raises(RuntimeError, match='projector.fc1.weight'):
        build(contrast=True).load_state_dict(build().state_dict())
    build(contrast=True).load_state_dict(state)


# --- in a model -----------------------------------------------------------------


def model_config(type='ImageClassifier', neck='GlobalMaxPooling', **options):
    model = {key: options.pop(key) for key in ('momentum',) if key in options}
    return dict(
        type=type,
        backbone=dict(
            type='ResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
            num_stages=1,
            strides=(1,),
            dilations=(1,),
            out_indices=(0,),
        ),
        neck=dict(type=neck),
        head=dict(
            type='ImageLevelClsHead',
            num_classes=5,
            in_channels=8,
            projector=dict(out_channels=4),
            **options,
        ),
        **model,
    )


@pytest.mark.parametrize('neck', ['GlobalMaxPooling', 'GlobalAveragePooling'])
def test_training_steps(neck):
    model = MODELS.build(
        model_config(
            neck=neck,
            loss=dict(type='StableAsymmetricLoss'),
            loss_contrastive=CONTRAST,
        )
    )
    assert (type(model.neck) is GlobalMaxPooling) == (neck == 'GlobalMaxPooling')
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, totals = torch.randn(5, 3, 32, 32), []
    for _ in range(6):
        losses = model.loss(x, samples())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert totals[-1] < totals[0]
    (prediction,) = model.eval().predict(x[:1])
    assert prediction.pred_score.shape == (5,)


# --- errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (dict(num_classes=0), 'num_classes'),
        (dict(in_channels=-1), 'in_channels=-1'),
        (dict(loss_reduction='none'), "'mean', 'batch' or 'sum', got 'none'"),
        (dict(topk=6), 'topk must be from 1 to num_classes=5, got 6'),
        (dict(loss_contrastive=dict(CONTRAST, temperature=0)), 'temperature'),
        (dict(loss_contrastive=dict(CONTRAST, rule='none')), 'rule must be one of'),
    ],
)
def test_bad_arguments(args, message):
    with pytest.raises(ValueError, match=message):
        build(**args)


@pytest.mark.parametrize('shape', [(2, 6, 3, 3), (2, 5), (2, 1, 6), (6,)])
def test_bad_features(shape):
    head, x = build(), torch.zeros(shape, dtype=torch.float64)
    for call in (head, head.predict, lambda feats: head.loss(feats, samples())):
        with pytest.raises(ValueError, match='in_channels=6') as error:
            call((x,))
        assert f'got {shape}' in str(error.value)
        for name in ('GlobalAveragePooling', 'GlobalMaxPooling'):
            assert name in str(error.value)


def test_bad_targets():
    with pytest.raises(ValueError, match='Got 4 images but 5 data samples'):
        build().loss((features(4),), samples())
    with pytest.raises(ValueError, match='label 5.*from 0 to 4'):
        build().loss((features(1),), [DataSample().set_gt_label([0, 5])])


def test_memory_of_other_widths():
    memory = dict(MEMORY, embed_dims=3)
    head = build(contrast=True, loss_contrastive=dict(CONTRAST, memory=memory))
    with pytest.raises(ValueError, match=r'Expected memory of \(K, 4\)'):
        head.loss((features(),), samples())
