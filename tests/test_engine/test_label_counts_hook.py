# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
from torch import nn

from mlcl_plugin.engine import CheckedRunner
from mlcl_plugin.engine.hooks import LabelCountsHook
from mlcl_plugin.engine.hooks.label_counts_hook import count_labels
from mlcl_plugin.models import BinaryCrossEntropyLoss


class Images:
    """Label 0 is present in two images; label 2 is unknown in two."""

    infos = [
        dict(gt_label=[0]),
        dict(gt_score=[1, 0, -1]),
        dict(gt_label=[1], gt_label_difficult=[2]),
    ]

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]


def test_counts():
    present, absent = count_labels(Images(), 3)
    assert present.tolist() == [2, 1, 0]
    assert absent.tolist() == [1, 2, 1]


def run(loss, dataset):
    model = nn.Module()
    model.head = nn.Module()
    model.head.num_classes = 3
    model.head.loss_module = loss
    data = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(model=model, train_dataloader=data)
    LabelCountsHook().before_train(runner)


def test_loss_gets_its_weights():
    loss = BinaryCrossEntropyLoss(pos_weight='auto')
    run(loss, Images())
    assert loss.pos_weight == [0.5, 2.0, 1.0]


def test_images_are_not_read_for_nothing():
    run(BinaryCrossEntropyLoss(pos_weight=[1.0, 2.0, 3.0]), dataset=None)
    with pytest.raises(TypeError):
        run(BinaryCrossEntropyLoss(pos_weight='auto'), dataset=None)


def test_runners_count(load_config, tmp_path):
    cfg = load_config()
    cfg.pop('steps'), cfg.pop('runner_type')
    cfg.model.head.loss = dict(type='BinaryCrossEntropyLoss', pos_weight='auto')
    cfg.work_dir = str(tmp_path)
    runner = CheckedRunner.from_cfg(cfg)
    runner.train()
    images = runner.train_dataloader.dataset
    present, absent = count_labels(images, runner.model.head.num_classes)
    expected = (absent / present.clamp(min=1)).clamp(max=10).where(present > 0, 1)
    assert runner.model.head.loss_module.pos_weight == expected.tolist()
