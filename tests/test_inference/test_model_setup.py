# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain import get_model
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import LinearClsHead, MultiLabelLinearClsHead
from torch import nn

from mlcl_plugin.inference.attention import attention_neck, mean_attention
from mlcl_plugin.inference.label_names import find_classes, read_dataset_meta
from mlcl_plugin.inference.model_parts import head_of, neck_of
from mlcl_plugin.inference.model_setup import (
    check_precision,
    find_dtype,
    multi_label_head,
)


def classifier(head=None, neck=None):
    return ImageClassifier(
        nn.Identity(), neck=neck, head=head, data_preprocessor=nn.Identity()
    )


def test_parts():
    head, neck = MultiLabelLinearClsHead(3, 4), nn.Flatten()
    assert head_of(classifier(head)) is head is multi_label_head(classifier(head))
    assert neck_of(classifier(neck=neck)) is neck
    for model in (classifier(), nn.Linear(2, 2)):
        assert head_of(model) is None and neck_of(model) is None


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (classifier(), 'got ImageClassifier with no head'),
        (nn.Linear(2, 2), 'got Linear with no head'),
        (classifier(LinearClsHead(3, 4)), 'a LinearClsHead.*ImageClassificationInf'),
    ],
)
def test_other_heads(model, message):
    with pytest.raises(ValueError, match=message):
        multi_label_head(model)


def test_precision():
    assert find_dtype('float32', 'cpu') is None
    assert find_dtype('amp', 'cpu') == find_dtype('bfloat16', 'cpu') == torch.bfloat16
    assert find_dtype('float16', 'cpu') == torch.float16
    with pytest.raises(ValueError, match="precision='float16' is not available on .*x"):
        find_dtype('float16', 'nonsense')
    with pytest.raises(ValueError, match="precision must be 'float32'.*got 'half'"):
        check_precision('half')


@pytest.mark.parametrize(
    ('meta', 'expected'),
    [
        (dict(dataset_meta=dict(classes=['a'])), dict(classes=['a'])),
        (dict(dataset_meta=None, CLASSES=['a']), dict()),
        (dict(CLASSES=['a']), dict(classes=['a'])),
        (dict(CLASSES=None), dict()),
        (dict(), dict()),
    ],
)
def test_dataset_meta(meta, expected):
    assert read_dataset_meta(meta) == expected


def test_classes_of_a_head_without_number(load_config):
    """Only names can be given where no one tells how many labels there are."""
    cfg = load_config()
    del cfg.model.head.num_classes
    model = classifier(MultiLabelLinearClsHead(3, 4))
    del model.head.num_classes
    assert find_classes(model, model.head, cfg, ['a']) == ('a',)
    assert find_classes(model, model.head, cfg) == ('cat', 'dog', 'owl')
    with pytest.raises(ValueError, match='does not tell its number of labels'):
        find_classes(model, model.head, cfg, 'numbers')


@torch.no_grad()
def test_attention(load_config):
    model = get_model(load_config(), pretrained=False).eval()
    neck = attention_neck(model)
    assert neck is model.neck
    features = (torch.randn(2, 16, 4, 4),)
    maps = mean_attention(neck, features)
    _, expected = neck(features, return_attention=True)
    assert maps.shape == (2, 3, 4, 4)
    torch.testing.assert_close(maps, expected.mean(dim=1))
    for other in (classifier(neck=nn.Flatten()), classifier()):
        with pytest.raises(ValueError, match='got ImageClassifier with (the|no) neck'):
            attention_neck(other)
