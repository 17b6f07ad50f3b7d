"""Neighbours of labels and of images on scenes of digits, all weights trained."""

title = 'Neighbours, digit scenes, all weights trained'
description = (
    'Scenes of handwritten digits (5,000 for training, 1,000 for validation; 48 px, '
    'ten labels), half a ResNet-18 from random weights, the recipe of `make demo`: 9 '
    'epochs of step 1 and one of step 2 with two views. Average pooling has the same '
    'steps. Then the training scenes fill the memories. Weights of the blends are '
    'the defaults. Image-level neighbours compare averages of the features of the '
    'backbone of the same run.'
)
seeds = [0, 1, 2]
neighbours = True
reference = 'no_contrast'
config = 'configs/mlcl/mlcl_resnet_digits_48px.py'
contrast = 'steps.step2.model.head.loss_contrastive'
data = 'data/digit_scenes_48px/'
methods = dict(
    step1=dict(label='label attention, BCE: step 1', config=config, until='step1'),
    no_contrast=dict(
        label='label attention, BCE',
        config=config,
        start='step1',
        options={contrast: None},
    ),
    mulcon=dict(label='MulCon', config=config, start='step1'),
    image_any=dict(
        label='image level, any, weight 0.1',
        config=config,
        start='step1',
        options={
            contrast: dict(
                _delete_=True,
                type='ImageLevelContrastiveLoss',
                rule='any',
                temperature=0.1,
                loss_weight=0.1,
            )
        },
    ),
    gap=dict(
        label='average pooling, BCE',
        config='configs/baselines/gap_resnet_digits.py',
        options={
            'train_dataloader.dataset.data_root': data,
            'val_dataloader.dataset.data_root': data,
            'test_dataloader.dataset.data_root': data,
            'param_scheduler.1.T_max': 9,
            'param_scheduler.1.end': 9,
            'steps.step1.train_cfg.max_epochs': 9,
            'steps.step1.train_cfg.val_interval': 9,
            'steps.step2.param_scheduler.0.T_max': 1,
            'steps.step2.param_scheduler.0.end': 1,
            'steps.step2.train_cfg.max_epochs': 1,
        },
    ),
)
del config, contrast, data
