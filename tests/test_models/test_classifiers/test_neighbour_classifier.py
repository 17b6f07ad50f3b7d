# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.models import NeighbourClassifier
from mlcl_plugin.models.classifiers import neighbour_classifier as module

BACKBONE = dict(
    type='ResNet',
    depth=18,
    stem_channels=8,
    base_channels=8,
    num_stages=1,
    strides=(1,),
    dilations=(1,),
    out_indices=(0,),
)
LABEL_WISE = dict(
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=3,
        in_channels=8,
        embed_dims=8,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=3, in_channels=8),
)
POOLED = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=8),
)
LABEL, IMAGE = dict(type='LabelNeighbours'), dict(type='ImageNeighbours')
CSRA = dict(
    neck=None,
    head=dict(type='CSRAClsHead', num_classes=3, in_channels=8, num_heads=1, lam=0.1),
)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')
    torch.manual_seed(0)


def build(parts=LABEL_WISE, **options):
    model = MODELS.build(
        dict(type='NeighbourClassifier', backbone=BACKBONE, **parts, **options)
    )
    assert type(model) is NeighbourClassifier
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
def fill(model, number=30):
    images = torch.randn(number, 3, 16, 16)
    targets = torch.randint(-1, 2, (number, 3))
    for memory, vectors in zip(model.memories, model.vectors(images)):
        memory.fill(vectors, targets, [f'{n}.jpg' for n in range(number)])
    return images, targets


def samples(number=4):
    return [DataSample().set_gt_score(torch.tensor([1.0, 0, 0])) for _ in range(number)]


@pytest.mark.parametrize(
    ('parts', 'neighbours', 'weights'),
    [
        (LABEL_WISE, [LABEL], None),
        (LABEL_WISE, [LABEL, IMAGE], None),
        (LABEL_WISE, [IMAGE, LABEL], (0.1, 0.3, 0.6)),
        (POOLED, [IMAGE], None),
        (POOLED, [dict(IMAGE, source='embeddings'), IMAGE], (0.5, 0.2, 0.3)),
        (CSRA, [IMAGE], (0.0, 1.0)),
    ],
)
@torch.no_grad()
def test_blend(parts, neighbours, weights):
    """Probabilities are those of the parts, in all ways of calling the model."""
    model = build(parts, neighbours=neighbours, weights=weights)
    fill(model)
    inputs = torch.randn(4, 3, 16, 16)
    logits, votes = model.members(inputs)
    torch.testing.assert_close(logits, model.head(model.extract_feat(inputs)))
    expected = model.weights[0] * logits.sigmoid()
    for weight, vote in zip(model.weights[1:], votes):
        assert not vote.present.isnan().any()
        expected = expected + weight * vote.present.exp()
    torch.testing.assert_close(model(inputs).sigmoid(), expected)
    predicted = model.predict(inputs, samples())
    for sample, scores in zip(predicted, expected):
        torch.testing.assert_close(sample.pred_score, scores)
        assert sample.pred_label.tolist() == (scores >= 0.5).nonzero()[:, 0].tolist()
    again = model(inputs, None, 'predict')
    torch.testing.assert_close(again[2].pred_score, expected[2])


def test_default_weights():
    assert build().weights == (0.3, 0.7)
    assert build(neighbours=[LABEL, IMAGE]).weights == (0.2, 0.5, 0.3)
    assert build(POOLED, neighbours=[IMAGE]).weights == (0.5, 0.5)
    with pytest.raises(ValueError, match=r"kinds \('image', 'label'\). Set weights"):
        build(neighbours=[IMAGE, LABEL])


def test_training_is_that_of_the_image_classifier():
    model, plain = (
        build(),
        MODELS.build(dict(type='ImageClassifier', backbone=BACKBONE, **LABEL_WISE)),
    )
    fill(model)
    plain.load_state_dict(model.state_dict(), strict=False)
    plain.train(), model.train()
    inputs = torch.randn(4, 3, 16, 16)
    losses, expected = (m(inputs, samples(), 'loss') for m in (model, plain))
    assert losses.keys() == expected.keys()
    for key, value in losses.items():
        assert torch.equal(value, expected[key])


def test_empty(monkeypatch):
    """Scores of the head, with one warning."""
    messages = []
    monkeypatch.setattr(
        module, 'print_log', lambda text, logger, level: messages.append(text)
    )
    model = build(neighbours=[LABEL, IMAGE])
    inputs = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        expected = model.head(model.extract_feat(inputs))
        for _ in range(2):
            assert torch.equal(model(inputs), expected)
    assert len(messages) == 1 and 'empty' in messages[0]
    # One of two is not enough.
    model.memories[1].fill(torch.randn(5, 1, 8), torch.randint(2, (5, 3)))
    assert not model.is_filled
    with pytest.raises(ValueError, match='LabelNeighbours is empty'):
        model.members(inputs)


def test_checkpoint():
    model, other = (build(neighbours=[LABEL, IMAGE]) for _ in range(2))
    fill(model)
    other.load_state_dict(model.state_dict())
    inputs = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(inputs), other(inputs))


def test_explain():
    model = build(neighbours=[LABEL, IMAGE])
    images, targets = fill(model)
    found = model.explain(images[:2], 1, 3)
    assert len(found) == 2 and [len(of_image) for of_image in found] == [2, 2]
    for image, of_image in enumerate(found):
        for memory in of_image:
            assert all(targets[int(n.image[:-4]), 1] == 1 for n in memory)
            if targets[image, 1] == 1:
                # The image itself.
                assert memory[0].image == f'{image}.jpg'
                assert memory[0].cosine == pytest.approx(1, abs=1e-3)
    against = model.explain(images[:2], 1, 3, present=False)[0][0]
    assert all(targets[int(n.image[:-4]), 1] == 0 for n in against)


class TestErrors:
    def test_head(self):
        head = dict(type='LinearClsHead', num_classes=3, in_channels=8)
        with pytest.raises(ValueError, match='several labels.*got LinearClsHead'):
            build(dict(POOLED, head=head))
        with pytest.raises(ValueError, match='the head is a MultiLabelLinearClsHead'):
            build(POOLED)

    @pytest.mark.parametrize('neighbours', [[], LABEL])
    def test_no_list(self, neighbours):
        with pytest.raises(ValueError, match='must be a list of one or more configs'):
            build(neighbours=neighbours)

    def test_other_modules(self):
        with pytest.raises(ValueError, match='got GlobalAveragePooling'):
            build(neighbours=[dict(type='GlobalAveragePooling')])

    def test_weights(self):
        with pytest.raises(ValueError, match='weights must have 2 entries'):
            build(weights=(0.2, 0.5, 0.3))


VOTES = dict(type='NeighbourVoteLoss', temperature=0.1)


def trained_for_votes(neighbours, **head):
    parts = dict(LABEL_WISE)
    parts['head'] = dict(parts['head'], loss_contrastive=VOTES, **head)
    return build(parts, neighbours=[neighbours])


@pytest.mark.parametrize('source', ['embeddings', 'projections'])
def test_temperatures_of_training_and_inference_are_tied(source):
    memory = dict(LABEL, temperature=0.1, source=source)
    assert trained_for_votes(memory, projector=None).memories[0].temperature == 0.1
    message = r'LabelNeighbours has temperature=0.05 and the loss temperature=0.1\. Set'
    with pytest.raises(ValueError, match=message):
        trained_for_votes(dict(LABEL, source=source), projector=None)


def test_temperatures_of_other_vectors_are_not_tied():
    """The loss sees projections, the memory embeddings."""
    trained_for_votes(LABEL)
    with pytest.raises(ValueError, match='temperature=0.05 and the loss temp'):
        trained_for_votes(dict(LABEL, source='projections'))
    trained_for_votes(dict(IMAGE))


@torch.no_grad()
def test_memory_holds_what_the_loss_compares():
    model = trained_for_votes(dict(LABEL, temperature=0.1), projector=None)
    images, targets = fill(model)
    feats = model.extract_feat(images)
    pairs = torch.ones(len(images), 3).nonzero()
    seen = model.head.project(feats[-1], *pairs.T).unflatten(0, (-1, 3))
    (vectors,) = model.vectors(images)
    torch.testing.assert_close(
        torch.nn.functional.normalize(vectors, dim=-1), seen, rtol=0, atol=1e-6
    )
