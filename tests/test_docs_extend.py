# SPDX-License-Identifier: Apache-2.0
"""The code of docs/extend.md runs, and what it builds trains."""

import importlib
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.models import LabelWiseClsHead

PAGE = Path(__file__).parents[1] / 'docs' / 'extend.md'
NUM_CLASSES = 4
TARGETS = [[1, 0, 1, -1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, -1, 0], [1, 0, 0, 1]]
CLASSES = dict(
    pairwise_logistic='PairwiseLogisticLoss',
    linear_label_neck='LinearLabelNeck',
    cosine_cls_head='CosineClsHead',
)


def code_blocks():
    """The page's blocks of Python by the name in their first line."""
    blocks = re.findall(
        r'^```python\n# (\S+)\n(.*?)^```$', PAGE.read_text(), re.S | re.M
    )
    return dict(blocks)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """The page's modules, written to files and imported once each."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in CLASSES:
        (tmp_path / f'{name}.py').write_text(code_blocks()[f'{name}.py'])
    yield {name: importlib.import_module(name) for name in CLASSES}
    for name, kind in CLASSES.items():
        sys.modules.pop(name)
        MODELS.module_dict.pop(kind)


def samples():
    return [DataSample().set_gt_score(torch.tensor(row).float()) for row in TARGETS]


def oracle(z, labels, temperature):
    """The loss, pair by pair."""
    terms = []
    for i, first in enumerate(labels):
        for j, second in enumerate(labels):
            if i != j:
                sign = 1 if first == second else -1
                cosine = sum(a * b for a, b in zip(z[i], z[j], strict=True))
                terms.append(math.log1p(math.exp(-sign * cosine / temperature)))
    return sum(terms) / len(terms) if terms else 0.0


def test_the_page_holds_these_blocks():
    assert list(code_blocks()) == [
        'pairwise_logistic.py',
        'config',
        'linear_label_neck.py',
        'cosine_cls_head.py',
    ]


def test_the_loss_is_short():
    lines = [
        line for line in code_blocks()['pairwise_logistic.py'].splitlines() if line
    ]
    assert len(lines) <= 30


@pytest.mark.parametrize('number', [0, 1, 2, 6])
def test_loss(modules, number):
    torch.manual_seed(0)
    loss = MODELS.build(dict(type='PairwiseLogisticLoss', temperature=0.5))
    z = torch.nn.functional.normalize(torch.randn(number, 3).double(), dim=1)
    z.requires_grad_()
    labels = torch.tensor([0, 1, 0, 2, 1, 0])[:number]
    result = loss(z, labels)
    result.backward()
    assert result.item() == pytest.approx(
        0.1 * oracle(z.tolist(), labels.tolist(), 0.5), abs=1e-12
    )
    assert z.grad.isfinite().all()


def test_loss_under_autocast(modules):
    loss = MODELS.build(dict(type='PairwiseLogisticLoss'))
    z = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    expected = loss(z, labels)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(loss(z, labels), expected)
        assert loss(z.bfloat16(), labels).dtype == torch.float32


def test_a_step_of_the_label_wise_head(modules):
    torch.manual_seed(0)
    head = MODELS.build(
        dict(
            type='LabelWiseClsHead',
            num_classes=NUM_CLASSES,
            in_channels=8,
            loss_contrastive=dict(type='PairwiseLogisticLoss', loss_weight=1.0),
            projector=dict(out_channels=5),
        )
    )
    assert type(head) is LabelWiseClsHead
    feats = torch.randn(5, NUM_CLASSES, 8)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    before = head.loss((feats,), samples())
    z = head.projector(feats).detach().double()
    chosen = [
        (b, i) for b, row in enumerate(TARGETS) for i, y in enumerate(row) if y == 1
    ]
    expected = oracle(
        [z[place].tolist() for place in chosen], [i for _, i in chosen], 0.2
    )
    assert before['loss_contrastive'].item() == pytest.approx(expected, rel=1e-5)
    sum(before.values()).backward()
    optimizer.step()
    after = head.loss((feats,), samples())
    assert after['loss_contrastive'] < before['loss_contrastive']


def test_neck_and_head(modules):
    """In a classifier, with every kind of contrastive loss."""
    for kind in (
        'PairwiseLogisticLoss',
        'LabelWiseContrastiveLoss',
        'WithinLabelContrastiveLoss',
        'ImageLevelContrastiveLoss',
        None,
    ):
        torch.manual_seed(0)
        contrast = None if kind is None else dict(type=kind)
        model = MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(type='IdentityBackbone'),
                neck=dict(
                    type='LinearLabelNeck',
                    num_classes=NUM_CLASSES,
                    in_channels=3,
                    embed_dims=8,
                ),
                head=dict(
                    type='CosineClsHead',
                    num_classes=NUM_CLASSES,
                    in_channels=8,
                    loss_contrastive=contrast,
                ),
            )
        ).train()
        images = torch.randn(5, 3, 2, 2)
        losses = model.loss(images, samples())
        assert set(losses) == {'loss_cls'} | ({'loss_contrastive'} if kind else set())
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if kind is not None:
            trained = model.state_dict()
    # The last one has no contrast, and takes the weights of one with it.
    assert any('margin' in key for key in trained)
    model.load_state_dict(trained)
    assert len(model.predict(images)) == 5


def test_config(modules, tmp_path):
    base = tmp_path / 'base.py'
    base.write_text(
        "model = dict(head=dict(type='LabelWiseClsHead', num_classes=4, in_channels=8, "
        "loss_contrastive=dict(type='LabelWiseContrastiveLoss', memory=None)))"
    )
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = ['base.py']\n{code_blocks()['config']}")
    head = MODELS.build(Config.fromfile(config).model.head)
    assert (
        type(head.contrastive_module)
        is modules['pairwise_logistic'].PairwiseLogisticLoss
    )
    assert head.contrastive_module.temperature == 0.1
