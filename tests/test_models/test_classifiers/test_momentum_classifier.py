# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.models import MomentumClassifier

MEMORY = dict(type='EmbeddingMemory', size=20, embed_dims=5)


def config(memory=MEMORY, num_groups=None, **options):
    return dict(
        type='MomentumClassifier',
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
        neck=dict(
            type='LabelAttentionNeck',
            num_classes=3,
            in_channels=8,
            embed_dims=8,
            num_blocks_before=0,
            num_groups=num_groups,
        ),
        head=dict(
            type='LabelWiseClsHead',
            num_classes=3,
            in_channels=8,
            num_groups=num_groups,
            loss_contrastive=dict(type='LabelWiseContrastiveLoss', memory=memory),
            projector=dict(out_channels=5),
        ),
        **options,
    )


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.tensor([[1.0, 0, 1], [0, 1, -1], [0, 0, 0], [1, 1, 1]])
    samples = [DataSample().set_gt_score(row) for row in targets]
    return torch.randn(4, 3, 32, 32, generator=generator), samples


def step(model, optimizer, seed=0):
    losses = model.loss(*batch(seed))
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()


@pytest.mark.parametrize('num_groups', [None, 2])
def test_average_makes_what_is_remembered(num_groups):
    torch.manual_seed(0)
    model = MODELS.build(config(momentum=0.25, num_groups=num_groups)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    names = [n for n, _ in model.named_parameters() if 'momentum_encoder' not in n]
    average = None
    for number in range(3):
        now = {name: model.get_parameter(name).detach().clone() for name in names}
        average = average or now
        average = {n: 0.75 * average[n] + 0.25 * now[n] for n in names}
        step(model, optimizer, seed=number)
        for name in names:
            copy = model.get_parameter(f'momentum_encoder.module.{name}')
            assert copy.grad is None and not copy.requires_grad
            torch.testing.assert_close(copy, average[name])

    # The latest six of the memory: the embeddings of the average for the last batch.
    encoder = model.momentum_encoder.module
    images, labels = torch.tensor([0, 0, 1, 3, 3, 3]), torch.tensor([0, 2, 1, 0, 1, 2])
    with torch.no_grad():
        (embeddings,) = encoder['neck'](encoder['backbone'](batch(2)[0]))
        keys = encoder['head'].project(embeddings, images, labels)
        (own,) = model.extract_feat(batch(2)[0])
        own = model.head.project(own, images, labels)
    remembered, remembered_labels = model.head.contrastive_module.memory.read()
    torch.testing.assert_close(remembered[-6:], keys)
    assert remembered_labels[-6:].tolist() == labels.tolist()
    assert (keys - own).abs().max() > 1e-3
    # It has no memory of its own.
    assert not [
        k for k in model.state_dict() if 'momentum_encoder' in k and 'bits' in k
    ]


def test_goes_on_from_a_checkpoint():
    torch.manual_seed(0)
    model = MODELS.build(config()).train()
    step(model, torch.optim.SGD(model.parameters(), lr=0.5))
    resumed = MODELS.build(config()).train()
    resumed.load_state_dict(model.state_dict())
    for each in (model, resumed):
        step(each, torch.optim.SGD(each.parameters(), lr=0.5), seed=1)
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_prediction_uses_the_trained_weights():
    model = MODELS.build(config()).eval()
    inputs, _ = batch()
    expected = model(inputs)
    for parameter in model.momentum_encoder.parameters():
        parameter.data.fill_(torch.nan)
    assert torch.equal(model(inputs), expected)
    assert len(model.predict(inputs)) == 4


@pytest.mark.parametrize('momentum', [0, 1, -0.1, 1.5])
def test_bad_momentum(momentum):
    with pytest.raises(ValueError, match=f'between 0 and 1, got {momentum}'):
        MODELS.build(config(momentum=momentum))


def test_no_memory():
    with pytest.raises(ValueError, match='head has none.*EmbeddingMemory'):
        MODELS.build(config(memory=None))
    without_contrast = config()
    without_contrast['head']['loss_contrastive'] = None
    with pytest.raises(ValueError, match='head has none'):
        MomentumClassifier(**{k: v for k, v in without_contrast.items() if k != 'type'})
