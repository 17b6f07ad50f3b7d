# SPDX-License-Identifier: Apache-2.0
"""A work folder as a training in two steps leaves it, made by hand."""

import json

import cv2
import numpy as np
import pytest

from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump

CONFIG = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=101),
    neck=dict(type='LabelAttentionNeck', num_heads=4, embed_dims=512),
    head=dict(type='LabelWiseClsHead', num_classes=3, LOSS))
data_preprocessor = dict(num_views=VIEWS)
train_dataloader = dict(batch_size=16, dataset=dict(
    type='RepeatDataset', dataset=dict(type='TabularMultiLabel', ann_file='a.csv')))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImage'), dict(type='Resize', scale=(320, 224))]))
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.0001))
custom_hooks = [dict(type='EMAHook', momentum=0.002)]
randomness = dict(seed=7)
"""
CONTRAST = (
    "loss_contrastive=dict(type='LabelWiseContrastiveLoss', loss_weight=0.5, "
    'temperature=0.2)'
)
LOG = """2026/01/01 00:00:00 - mmengine - INFO -
------------------------------------------------------------
System environment:
    sys.platform: linux
    Python: 3.11.7
    PyTorch: 2.14.1
    PyTorch compiling details: PyTorch built with:
  - GCC 13.3

    MMEngine: 0.10.12

Runtime environment:
    dist_cfg: {'backend': 'nccl'}
    seed: 7
------------------------------------------------------------
    Not: the environment
"""


@pytest.fixture
def names():
    return ('ant', 'bee', 'cat')


@pytest.fixture
def make_dump(tmp_path, names):
    """Function that makes a dump with images."""

    def make(path, number=8, names=names, stem='image'):
        images = []
        for n in range(number):
            image = np.full((20, 30, 3), 20 * n, np.uint8)
            images.append(tmp_path / f'{stem}{n}.png')
            cv2.imwrite(str(images[-1]), image)
        random = np.random.default_rng(0)
        targets = random.integers(0, 2, (number, len(names)))
        targets[0] = 1
        scores = (0.3 * targets + 0.7 * random.random(targets.shape)).astype('f4')
        dump = ScoreDump(scores, targets, names, [str(path) for path in images])
        dump.save(path)
        return dump

    return make


@pytest.fixture
def make_work(tmp_path, make_dump, names):
    """Function that makes a work folder."""

    def make(names=names, config=CONFIG, stem='image'):
        work = tmp_path / 'work'
        for number, (step, loss) in enumerate(
            (('step1', ''), ('step2', CONTRAST)), start=1
        ):
            start = work / step / f'2026010{number}_000000'
            (start / 'vis_data').mkdir(parents=True)
            text = config.replace('LOSS', loss).replace('VIEWS', str(number))
            (start / 'vis_data' / 'config.py').write_text(text)
            (work / step / 'my_recipe.py').write_text(text)
            (start / f'{start.name}.log').write_text(LOG)
            rows = [
                dict(epoch=epoch, iter=10 * epoch, loss_cls=1 / epoch, loss=1)
                for epoch in (1, 2)
            ]
            rows.append({'step': 2, 'multi-label/mAP': 70.0})
            lines = '\n'.join(map(json.dumps, rows))
            (start / 'vis_data' / 'scalars.json').write_text(lines)
            (work / step / 'epoch_2.pth').write_bytes(b'not opened')
            (work / step / 'finished_checkpoint').write_text('')
        make_dump(work / 'test_scores.csv', names=names, stem=stem)
        Decisions(names, [0.4] * len(names)).save(work / 'decisions.json')
        finding = dict(
            level='warning',
            kind='rare',
            splits=['train'],
            message='bee is rare',
            examples=['a', 'b'],
            count=5,
        )
        (work / 'check.json').write_text(json.dumps(dict(findings=[finding])))
        return work

    return make
