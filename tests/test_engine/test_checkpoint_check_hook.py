# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

import mlcl_plugin.models  # noqa: F401
from mlcl_plugin.engine import CheckpointCheckHook


class Renaming(nn.Linear):
    """Knows an older name of its weight, as some backbones do."""

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if f'{prefix}old' in state_dict:
            state_dict[f'{prefix}weight'] = state_dict.pop(f'{prefix}old')
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def make_model():
    return nn.ModuleDict(
        dict(
            backbone=nn.Sequential(Renaming(3, 4), nn.BatchNorm1d(4)),
            head=nn.ModuleDict(dict(fc=nn.Linear(4, 2), projector=nn.Linear(4, 5))),
        )
    )


def check(state, optional=(), model=None, **options):
    """Let the hook see a checkpoint, and give the checkpoint back."""
    checkpoint = dict(state_dict=state, meta={})
    runner = SimpleNamespace(model=model or make_model(), _load_from='file.pth')
    CheckpointCheckHook(optional, **options).after_load_checkpoint(runner, checkpoint)
    return checkpoint['state_dict']


def without(state, *parts):
    return {k: v for k, v in state.items() if not k.startswith(parts)}


def test_fits():
    state = make_model().state_dict()
    state['neck.surplus'] = torch.zeros(3)
    assert check(state) is state


def test_wrapped_model():
    """Named as the wrapper or as the model has it."""
    state = make_model().state_dict()
    model = nn.DataParallel(make_model())
    prefixed = {f'module.{key}': value for key, value in state.items()}
    assert check(dict(state), model=model).keys() == state.keys()
    assert check(prefixed, model=model).keys() == state.keys()


def test_names_what_is_missing():
    state = without(make_model().state_dict(), 'head.fc', 'backbone')
    message = (
        r'file.pth does not fit the model: 8 of its 11 weights are missing .*, e.g. '
        r'backbone.0.weight, backbone.0.bias, backbone.1.weight, backbone.1.bias, '
        r'backbone.1.running_mean\. Use'
    )
    with pytest.raises(ValueError, match=message):
        check(state)


def test_names_what_has_another_shape():
    state = make_model().state_dict()
    state['head.fc.weight'] = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r'1 of its 11 .*, e.g. head.fc.weight\. Use'):
        check(state)
    # what may be missing must fit all the same
    state = make_model().state_dict()
    state['head.projector.bias'] = torch.zeros(6)
    with pytest.raises(ValueError, match=r'e.g. head.projector.bias\. Use'):
        check(state, ['head.projector.'])


def test_optional_weights_stay_as_they_are():
    model = make_model()
    own = {k: v.clone() for k, v in model.state_dict().items()}
    state = without(make_model().state_dict(), 'head.projector')
    completed = check(dict(state), ['head.projector.'], model)
    assert completed.keys() == own.keys()
    for key, value in completed.items():
        assert torch.equal(value, state[key] if key in state else own[key])
    with pytest.raises(ValueError, match='2 of its 11 .* head.projector.weight'):
        check(state)


def test_number_of_batches_does_not_matter():
    state = make_model().state_dict()
    del state['backbone.1.num_batches_tracked']
    check(state)


def test_model_that_renames():
    state = make_model().state_dict()
    state['backbone.0.old'] = state.pop('backbone.0.weight')
    check(state)


# --- parts that only training needs -----------------------------------------------

CONTRAST = dict(
    type='LabelWiseContrastiveLoss',
    memory=dict(type='EmbeddingMemory', size=8, embed_dims=4),
)
CONTRASTS = dict(
    label_wise=dict(loss_contrastive=CONTRAST),
    groups=dict(loss_contrastive=CONTRAST, num_groups=2),
    sadcl=dict(type='SADCLHead', num_slots=3),
    momentum=dict(loss_contrastive=CONTRAST),
)
#: Beginnings of weights that a step may add to those of the step before.
ADDED = (
    'head.projector.',
    'head.label_scale.',
    'head.contrastive_module.',
    'head.prototypes',
    'head.memory_bits',
    'momentum_encoder.',
)


def make_classifier(kind='ImageClassifier', **head):
    config = dict(
        type='LabelWiseClsHead',
        num_classes=4,
        in_channels=8,
        projector=dict(out_channels=4),
    )
    neck = dict(
        type='LabelAttentionNeck',
        num_classes=4,
        in_channels=8,
        embed_dims=8,
        num_groups=head.get('num_groups'),
    )
    return MODELS.build(
        dict(
            type=kind,
            backbone=dict(type='IdentityBackbone'),
            neck=neck,
            head={**config, **head},
        )
    )


@pytest.mark.parametrize('name', CONTRASTS)
def test_training_parts_start_fresh(name):
    """From weights of a classifier without contrast."""
    kind = 'MomentumClassifier' if name == 'momentum' else 'ImageClassifier'
    head = CONTRASTS[name]
    model = make_classifier(kind, **head)
    own = {k: v.clone() for k, v in model.state_dict().items()}
    state = make_classifier(num_groups=head.get('num_groups')).state_dict()
    added = own.keys() - state.keys()
    assert added and all(key.startswith(ADDED) for key in added)
    completed = check(dict(state), model=model, training_parts=True)
    assert completed.keys() == own.keys()
    for key, value in completed.items():
        assert torch.equal(value, own[key] if key in added else state[key])
    with pytest.raises(ValueError, match=f'{len(added)} of its {len(own)} weights'):
        check(dict(state), model=model)
    # Named one by one, they are the same.
    assert check(dict(state), ADDED, model).keys() == own.keys()


def test_training_parts_of_a_wrapped_model():
    model = make_classifier(loss_contrastive=CONTRAST)
    state = make_classifier().state_dict()
    wrapped = nn.DataParallel(model)
    completed = check(dict(state), model=wrapped, training_parts=True)
    assert completed.keys() == model.state_dict().keys()


def test_training_parts_next_to_optional_ones():
    model = make_classifier(loss_contrastive=CONTRAST)
    state = without(make_classifier().state_dict(), 'neck')
    with pytest.raises(ValueError, match=r'does not fit .* e.g. neck\.'):
        check(dict(state), model=model, training_parts=True)
    completed = check(dict(state), ['neck.'], model, training_parts=True)
    assert completed.keys() == model.state_dict().keys()


def test_a_training_part_of_another_shape():
    model = make_classifier(loss_contrastive=CONTRAST)
    state = model.state_dict()
    state['head.projector.fc2.bias'] = torch.zeros(7)
    with pytest.raises(ValueError, match=r'e.g. head.projector.fc2.bias\. Use'):
        check(state, model=model, training_parts=True)


def test_names_that_no_module_declares_are_no_training_parts():
    state = without(make_model().state_dict(), 'head.projector')
    with pytest.raises(ValueError, match='2 of its 11 .* head.projector.weight'):
        check(state, training_parts=True)
