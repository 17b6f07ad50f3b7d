"""A tenth of the training images, seen ten times as often, frozen backbone."""

_base_ = ['./_base_/voc07_frozen_part.py']

title = 'A tenth of the photographs, frozen backbone, VOC2007'
description = (
    'As the family on a frozen backbone, but with the first 250 training photographs '
    'only and ten times the epochs. With whole batches, 7 % fewer images are seen.'
)
options = {
    'train_dataloader.dataset.indices': 250,
    'steps.step1.train_cfg.max_epochs': 80,
    'steps.step1.train_cfg.val_interval': 80,
    'param_scheduler.1.T_max': 80,
    'param_scheduler.1.end': 80,
    'steps.step2.train_cfg.max_epochs': 40,
    'steps.step2.train_cfg.val_interval': 40,
    'steps.step2.param_scheduler.0.T_max': 40,
    'steps.step2.param_scheduler.0.end': 40,
}
