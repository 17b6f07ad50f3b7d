# SPDX-License-Identifier: Apache-2.0
"""Which contrastive losses heads take, and which checkpoints."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mlcl_plugin.models import ContrastiveHead, LabelWiseContrastiveLoss
from mlcl_plugin.models.utils.training_only import training_only_prefixes

LABEL_MEMORY = dict(type='EmbeddingMemory', size=8, embed_dims=4)
IMAGE_MEMORY = dict(type='ImageEmbeddingMemory', size=8, num_classes=5, embed_dims=4)
CONTRASTS = dict(
    present=dict(type='LabelWiseContrastiveLoss'),
    remembered=dict(type='LabelWiseContrastiveLoss', memory=LABEL_MEMORY),
    known=dict(type='WithinLabelContrastiveLoss'),
    images=dict(type='ImageLevelContrastiveLoss', memory=IMAGE_MEMORY),
)


def build(kind='LabelWiseClsHead', **kwargs):
    config = dict(
        type=kind, num_classes=5, in_channels=6, projector=dict(out_channels=4)
    )
    return MODELS.build({**config, **kwargs})


# --- dropout and smoothing ------------------------------------------------------

TARGETS = torch.tensor(
    [[1.0, 0, -1, 1, 0], [0, 0, 0, 0, 0], [1, -1, 1, 0, 0], [-1, -1, -1, -1, -1]]
)
# One for every head: what it takes, and the contrast it takes.
REGULARISED = dict(
    LabelWiseClsHead=((4, 5, 6), 'present'),
    SADCLHead=((4, 5, 6), 'present'),
    ImageLevelClsHead=((4, 6), 'images'),
)


def regularised(kind, **kwargs):
    shape, contrast = REGULARISED[kind]
    torch.manual_seed(0)
    loss = dict(CONTRASTS[contrast], memory=None)
    head = build(kind, loss_contrastive=loss, **kwargs)
    head.init_weights()
    features = torch.randn(shape, requires_grad=True)
    samples = [DataSample().set_gt_score(row) for row in TARGETS]
    return head, features, samples


class HalfDropped(nn.Module):
    """Dropout that drops every second number: what is dropped is known."""

    def forward(self, x):
        kept = torch.arange(x.shape[-1]) % 2
        return x * kept * 2


@pytest.mark.parametrize('kind', REGULARISED)
def test_only_the_classifier_sees_dropped_embeddings(kind):
    head, x, samples = regularised(kind, dropout=0.5)
    plain, *_ = regularised(kind)
    plain.load_state_dict(head.state_dict())
    assert isinstance(head.dropout, nn.Dropout)
    assert head.dropout.p == 0.5
    head.dropout = HalfDropped()
    losses, expected = head.loss((x,), samples), plain.loss((x,), samples)
    contrasts = [name for name in losses if name != 'loss_cls']
    assert contrasts
    for name in contrasts:
        torch.testing.assert_close(losses[name], expected[name])
    dropped = plain.classify(HalfDropped()(x))
    torch.testing.assert_close(head((x,)), dropped)
    torch.testing.assert_close(
        losses['loss_cls'], plain.classification_loss(dropped, TARGETS)
    )
    assert torch.equal(head.pre_logits((x,)), x)


@pytest.mark.parametrize('kind', REGULARISED)
def test_dropout_is_for_training(kind):
    head, x, _ = regularised(kind, dropout=0.5)
    plain, *_ = regularised(kind)
    plain.load_state_dict(head.state_dict())
    assert not torch.equal(head((x,)), head((x,)))
    assert torch.equal(head.eval()((x,)), plain.eval()((x,)))


@pytest.mark.parametrize('kind', REGULARISED)
def test_no_dropout_by_default(kind):
    """It draws no random number either, so that older runs repeat."""
    head, x, _ = regularised(kind)
    state = torch.get_rng_state()
    assert torch.equal(head((x,)), head.eval()((x,)))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize('kind', REGULARISED)
@pytest.mark.parametrize('dropout', [-0.1, 1, True, None])
def test_dropout_out_of_range(kind, dropout):
    with pytest.raises(ValueError, match='dropout must be from 0 to below 1, got '):
        regularised(kind, dropout=dropout)


@pytest.mark.parametrize('kind', REGULARISED)
def test_smoothing_of_known_entries(kind):
    """Unknown labels get no gradient, and contrast sees the targets as they are."""
    loss = dict(type='BinaryCrossEntropyLoss', label_smoothing=0.2)
    head, x, samples = regularised(kind, loss=loss)
    plain, *_ = regularised(kind)
    plain.load_state_dict(head.state_dict())
    losses, expected = head.loss((x,), samples), plain.loss((x,), samples)
    for name in losses:
        if name != 'loss_cls':
            torch.testing.assert_close(losses[name], expected[name])

    logits = head((x,)).detach().double().requires_grad_()
    probabilities = logits.sigmoid()
    total, number = 0, 0
    for image, row in enumerate(TARGETS.tolist()):
        for label, target in enumerate(row):
            if target < 0:
                continue
            y = {1: 0.9, 0: 0.1}[target]
            p = probabilities[image, label]
            total = total - y * p.log() - (1 - y) * (1 - p).log()
            number += 1
    torch.testing.assert_close(losses['loss_cls'].double(), total / number)
    head.classification_loss(logits, TARGETS).backward()
    assert torch.equal(logits.grad == 0, TARGETS == -1)


# --- losses ---------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['LabelWiseClsHead', 'ImageLevelClsHead', 'SADCLHead'])
@pytest.mark.parametrize(
    'loss',
    [
        nn.MSELoss(),
        dict(type='BinaryCrossEntropyLoss'),
        dict(type='PrototypeContrastiveLoss'),
        dict(type='KernelContrastiveLoss'),
        dict(type='LabelEmbeddingContrastiveLoss'),
    ],
)
def test_only_contrastive_losses_of_this_kind(kind, loss):
    name = loss['type'] if isinstance(loss, dict) else 'MSELoss'
    message = (
        rf'loss_contrastive of {kind} must be a ContrastiveLoss, got {name}\. Let it '
        r'derive from \w+ \(mlcl_plugin.models.losses\), see docs/extend.md\.$'
    )
    with pytest.raises(ValueError, match=message):
        build(kind, loss_contrastive=loss)


@pytest.mark.parametrize(
    ('kind', 'contrast', 'message'),
    [
        ('ImageLevelClsHead', 'present', 'whole images, which LabelWiseC'),
        ('ImageLevelClsHead', 'known', 'it contrasts the embeddings of known labels'),
        ('SADCLHead', 'images', 'it contrasts whole images. Use a loss that derives'),
        ('SADCLHead', 'known', 'from PresentLabelContrast, or LabelWiseClsHead'),
    ],
)
def test_losses_of_another_kind(kind, contrast, message):
    with pytest.raises(ValueError, match=f'^{kind} contrasts .*{message}'):
        build(kind, loss_contrastive=CONTRASTS[contrast])


@pytest.mark.parametrize(
    ('kind', 'name', 'expected'),
    [
        ('SADCLHead', 'loss_prototype', 'PrototypeContrastiveLoss'),
        ('KMCLHead', 'loss_contrastive', 'KernelContrastiveLoss'),
        ('KMCLHead', 'loss_reconstruction', 'KernelReconstructionLoss'),
        ('CGMVAEHead', 'loss_contrastive', 'LabelEmbeddingContrastiveLoss'),
        ('CGMVAEHead', 'loss_kl', 'GaussianMixtureKLLoss'),
    ],
)
@pytest.mark.parametrize('loss', [nn.MSELoss(), dict(type='StableAsymmetricLoss')])
def test_own_losses_of_heads(kind, name, expected, loss):
    got = loss['type'] if isinstance(loss, dict) else 'MSELoss'
    message = (
        f'^{name} of {kind} must be a {expected}, got {got}. Use {expected}, or a loss '
        'that derives from it.$'
    )
    config = dict(type=kind, num_classes=5, in_channels=6)
    with pytest.raises(ValueError, match=message):
        MODELS.build({**config, name: loss})


def test_encoder():
    head = build(loss_contrastive=CONTRASTS['remembered'])
    contrast, x = head.contrastive_module, torch.randn(2, 5, 6)
    encoder = head.encoder()
    assert type(encoder) is type(head) and head.contrastive_module is contrast
    assert encoder.contrastive_module is None and encoder.projector is not None
    keys = [k for k in head.state_dict() if not k.startswith('contrastive_module.')]
    assert list(encoder.state_dict()) == keys != list(head.state_dict())
    assert torch.equal(encoder.project_images(x), head.project_images(x))
    ours = {parameter.data_ptr() for parameter in head.parameters()}
    assert not any(p.data_ptr() in ours for p in encoder.parameters())
    assert not encoder.takes_keys


@pytest.mark.parametrize(
    ('contrast', 'expected'), [('present', False), ('remembered', True), (None, False)]
)
def test_takes_keys(contrast, expected):
    loss = None if contrast is None else CONTRASTS[contrast]
    assert build(loss_contrastive=loss).takes_keys is expected


def test_given_modules():
    loss = LabelWiseContrastiveLoss()
    assert build(loss_contrastive=loss).contrastive_module is loss


def test_no_projections_without_contrast():
    head = build()
    with pytest.raises(ValueError, match='LabelWiseClsHead has no projector, since'):
        head.project_images(torch.zeros(2, 5, 6))
    with pytest.raises(ValueError, match='built without loss_contrastive'):
        head.project(torch.zeros(2, 5, 6), torch.tensor([0]), torch.tensor([1]))


def test_image_level_heads_have_no_embeddings_of_labels():
    head = build('ImageLevelClsHead', loss_contrastive=CONTRASTS['images'])
    projections = head.projections(torch.zeros(2, 6))
    assert projections.images().shape == (2, 4)
    with pytest.raises(ValueError, match='one embedding per image and none per label'):
        projections.labels(torch.tensor([0]), torch.tensor([1]))


def test_what_a_subclass_must_write():
    head = ContrastiveHead(3)
    x = torch.zeros(2, 3)
    for call in (head.pre_logits, head.classify, head.project_images):
        with pytest.raises(NotImplementedError):
            call(x)


# --- checkpoints ----------------------------------------------------------------

LABEL_WISE = dict(
    plain=dict(),
    **{name: dict(loss_contrastive=CONTRASTS[name]) for name in CONTRASTS},
    groups=dict(loss_contrastive=CONTRASTS['present'], num_groups=2),
    sadcl=dict(kind='SADCLHead', num_slots=3),
)
PARTS = ('projector', 'label_scale', 'contrastive_module', 'prototypes', 'memory_bits')


@pytest.mark.parametrize('source', LABEL_WISE)
def test_a_head_without_contrast_takes_all(source):
    torch.manual_seed(0)
    given = build(**LABEL_WISE[source])
    target = build(num_groups=LABEL_WISE[source].get('num_groups'))
    target.load_state_dict(given.state_dict(), strict=True)
    assert set(target.state_dict()) == {'classifier.weight', 'classifier.bias'}
    for name, value in target.state_dict().items():
        assert torch.equal(value, given.state_dict()[name])


@pytest.mark.parametrize('source', LABEL_WISE)
def test_a_head_takes_its_own(source):
    torch.manual_seed(0)
    given, again = build(**LABEL_WISE[source]), build(**LABEL_WISE[source])
    again.load_state_dict(given.state_dict(), strict=True)
    for name, value in again.state_dict().items():
        assert torch.equal(value, given.state_dict()[name])


@pytest.mark.parametrize('contrast', CONTRASTS)
def test_parts_that_a_head_has_stay_strict(contrast):
    head = build(loss_contrastive=CONTRASTS[contrast])
    with pytest.raises(RuntimeError, match=r'Missing .*projector\.fc1\.weight'):
        head.load_state_dict(build().state_dict())


def test_other_weights_stay_strict():
    state = build().state_dict()
    for key in ('projectors.weight', 'prototypes_of', 'momentum_encoder.steps', 'x'):
        with pytest.raises(RuntimeError, match=f'Unexpected .*{key}'):
            build().load_state_dict({**state, key: torch.zeros(1)})


@pytest.mark.parametrize('source', LABEL_WISE)
def test_declared_parts(source):
    """All weights that a head without contrast does not have, and no others."""
    model = nn.ModuleDict(dict(head=build(**LABEL_WISE[source])))
    plain = {f'head.{name}' for name in ('classifier.weight', 'classifier.bias')}
    prefixes = training_only_prefixes(model)
    assert {p.removeprefix('head.') for p in prefixes} <= set(PARTS)
    for key in model.state_dict():
        declared = any(key == p or key.startswith(f'{p}.') for p in prefixes)
        assert declared == (key not in plain), key


# --- no projector ---------------------------------------------------------------


@pytest.mark.parametrize('kind', REGULARISED)
def test_without_a_projector(kind):
    """The loss gets embeddings at unit length, also from the encoder of keys."""
    head, x, samples = regularised(kind, projector=None)
    expected = x / x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(head.to_sphere(x), expected)
    assert head.to_sphere(x.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(head.encoder().to_sphere(x), expected)
    losses = head.loss((x,), samples)
    gradient = torch.autograd.grad(losses['loss_contrastive'], x)[0]
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@pytest.mark.parametrize('kind', REGULARISED)
def test_a_head_without_projector_takes_checkpoints_of_one_with_it(kind):
    source, *_ = regularised(kind)
    head, *_ = regularised(kind, projector=None)
    head.load_state_dict(source.state_dict())
    for key, value in head.state_dict().items():
        assert torch.equal(value, source.state_dict()[key])
