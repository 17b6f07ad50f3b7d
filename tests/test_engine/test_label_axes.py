# SPDX-License-Identifier: Apache-2.0
"""The weights with a place per label, of all methods."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.engine.label_axes import label_axes, restarted_parts
from mlcl_plugin.engine.label_matching import LabelMatch, move_labels
from mlcl_plugin.engine.steps import trained_configs
from mlcl_plugin.models.utils.training_only import is_part
from tests.config_files import recipes

# One per method: the network is small, and each has its own neck, head and losses.
METHODS = {p.stem: p for p in recipes() if p.stem.endswith('_resnet_digits')}


def with_labels(content, number):
    if isinstance(content, dict):
        return {
            key: number if key == 'num_classes' else with_labels(value, number)
            for key, value in content.items()
        }
    return content


@pytest.fixture
def build(request):
    """Function that gives model and config of the last step for so many labels."""
    init_default_scope('mmpretrain')
    *_, last = trained_configs(Config.fromfile(METHODS[request.param]))

    def call(number, seed):
        torch.manual_seed(seed)
        cfg = with_labels(last.model.to_dict(), number)
        model = MODELS.build(copy.deepcopy(cfg))
        model.init_weights()
        return model.eval(), cfg

    return call


def move(old_model, model, cfg, match):
    """What the weights of the old model become, and the axes."""
    axes = label_axes(model, cfg, len(match.new))
    state = {name: value.clone() for name, value in old_model.state_dict().items()}
    move_labels(state, model.state_dict(), axes, match)
    return state, axes


@pytest.mark.parametrize('build', METHODS, indirect=True)
def test_labels_keep_their_scores(build):
    """In another order all methods give the same logits, label by label."""
    old, new = 'abcd', 'cadb'
    old_model, _ = build(4, 0)
    model, cfg = build(4, 1)
    state, _ = move(old_model, model, cfg, LabelMatch.of(old, new, 'a.pth'))
    model.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    expected, logits = old_model(images), model(images)
    assert expected.std() > 0
    for place, label in enumerate(new):
        torch.testing.assert_close(logits[:, place], expected[:, old.index(label)])


@pytest.mark.parametrize('build', METHODS, indirect=True)
def test_new_and_dropped_labels_against_a_loop(build):
    """The axes are those that differ between models of other numbers of labels."""
    old, new = 'abcd', 'xcyad'
    old_model, _ = build(4, 0)
    model, cfg = build(5, 1)
    state, axes = move(old_model, model, cfg, LabelMatch.of(old, new, 'a.pth'))
    before, initial = old_model.state_dict(), model.state_dict()
    restarted = restarted_parts(model)
    assert any(name.startswith('head.') for name in axes)
    for name, value in initial.items():
        if any(is_part(name, part) for part in restarted):
            continue
        if before[name].shape == value.shape:
            assert torch.equal(state[name], before[name])
            assert name not in axes
            continue
        (axis,) = [
            i for i in range(value.ndim) if value.shape[i] != before[name].shape[i]
        ]
        assert axes[name] == axis
        for place, label in enumerate(new):
            row = state[name].select(axis, place)
            if label in old:
                assert torch.equal(row, before[name].select(axis, old.index(label)))
            elif name != 'neck.queries' or 'neck.queries' in dict(
                model.named_parameters()
            ):
                assert torch.equal(row, value.select(axis, place)), name
    model.load_state_dict({**initial, **state})
    queries = dict(model.named_buffers()).get('neck.queries')
    if queries is not None:
        assert len(queries.unique(dim=0)) == 5


TINY = dict(
    type='MomentumClassifier',
    backbone=dict(type='IdentityBackbone'),
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=8,
        in_channels=8,
        embed_dims=8,
        num_heads=1,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(
        type='LabelWiseClsHead',
        num_classes=8,
        in_channels=8,
        projector=dict(hidden_channels=8, out_channels=8),
        loss_contrastive=dict(
            type='LabelWiseContrastiveLoss',
            memory=dict(type='EmbeddingMemory', size=2, embed_dims=8, num_classes=8),
        ),
    ),
)


def build_tiny(changes=None):
    cfg = Config(dict(model=copy.deepcopy(TINY)))
    cfg.merge_from_dict(
        {f'model.{key}': value for key, value in (changes or {}).items()}
    )
    init_default_scope('mmpretrain')
    return MODELS.build(copy.deepcopy(cfg.model)), cfg.model


def test_sizes_that_equal_the_number_of_labels():
    model, cfg = build_tiny()
    state = torch.random.get_rng_state()
    assert label_axes(model, cfg, 8) == {
        'neck.queries': 1,
        'head.classifier.weight': 0,
        'head.classifier.bias': 0,
    }
    assert torch.equal(torch.random.get_rng_state(), state)
    assert restarted_parts(model) == (
        'head.contrastive_module.memory',
        'momentum_encoder',
    )


def test_neighbours_start_anew():
    changes = dict(
        type='NeighbourClassifier',
        neighbours=[dict(type='LabelNeighbours'), dict(type='PooledLogistic')],
        weights=(0.5, 0.3, 0.2),
    )
    model, cfg = build_tiny(changes)
    model.neighbours[0].fill(torch.randn(4, 8, 8), torch.eye(8)[:4])
    assert restarted_parts(model) == (
        'head.contrastive_module.memory',
        'neighbours.0',
        'neighbours.1',
    )
    assert not any(name.startswith('neighbours') for name in label_axes(model, cfg, 8))


@pytest.mark.parametrize('number', [4, 8])
def test_groups(number):
    """8 groups of 8 labels are groups too, as their number does not grow."""
    changes = {f'{part}.num_groups': number for part in ('neck', 'head')}
    model, cfg = build_tiny(changes)
    message = f'labels share num_groups={number} queries.*Take the backbone alone'
    with pytest.raises(ValueError, match=message):
        label_axes(model, cfg, 8)


def test_no_single_axis():
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type='IdentityBackbone'),
        head=dict(type='KMCLHead', num_classes=3, in_channels=4, anisotropic=True),
    )
    init_default_scope('mmpretrain')
    model = MODELS.build(copy.deepcopy(cfg))
    message = (
        r"'head.fc_mean.weight' has the shape \(12, 4\) with 3 labels and \(16, 4\) "
        'with 4: expected a single axis'
    )
    with pytest.raises(ValueError, match=message):
        label_axes(model, cfg, 3)


def test_no_labels():
    model, cfg = build_tiny()
    with pytest.raises(ValueError, match='depends on num_classes=9 of the config'):
        label_axes(model, cfg, 9)
