"""Neighbours of a tenth of the training images."""

_base_ = ['./_base_/voc07_neighbours.py']

title = 'Neighbours, a tenth of the photographs, frozen backbone, VOC2007'
description = (
    'As neighbours for the family, but with the first 250 training photographs only '
    'and ten times the epochs. The memories hold these 250.'
)
options = {
    'train_dataloader.dataset.indices': 250,
    'steps.step1.train_cfg.max_epochs': 40,
    'steps.step1.train_cfg.val_interval': 40,
    'param_scheduler.1.T_max': 40,
    'param_scheduler.1.end': 40,
    'steps.step2.train_cfg.max_epochs': 20,
    'steps.step2.train_cfg.val_interval': 20,
    'steps.step2.param_scheduler.0.T_max': 20,
    'steps.step2.param_scheduler.0.end': 20,
}
