# Does step 2 of MulCon gain by its contrast? Full fine-tuning of the VOC2007 recipe.
title = 'Step 2 of MulCon with and without contrast, VOC2007, full fine-tuning'
description = (
    'PASCAL VOC2007 train -> val (2,500 and 1,508 photographs), EfficientNet-Lite0 at '
    '224 px, all weights trained, the recipe `mlcl_efflite0_voc07.py`: step 1 of 4 '
    'epochs and, from its weights, step 2 of 2 epochs with two views of every image. '
    'All of step 2 share step 1 of their seed. SGD at 0.01, a tenth of it for the '
    'neck, is what MulCon publishes; AdamW at 0.001, a tenth of it for the backbone, '
    'was better on a split of train.'
)
seeds = [0, 1, 2]
reference = 'no_contrast'
config = 'configs/mlcl_efflite0_voc07.py'
contrast = 'steps.step2.model.head.loss_contrastive'
weight = f'{contrast}.loss_weight'
# once, at the end of each step
options = {
    'steps.step1.train_cfg.val_interval': 4,
    'steps.step2.train_cfg.val_interval': 2,
}
methods = dict(
    step1=dict(label='step 1: label attention, BCE', config=config, until='step1'),
    no_contrast=dict(
        label='step 2 without contrast',
        config=config,
        start='step1',
        options={contrast: None},
    ),
    mulcon=dict(label='step 2, MulCon, weight 0.5', config=config, start='step1'),
    mulcon_weak=dict(
        label='step 2, MulCon, weight 0.1',
        config=config,
        start='step1',
        options={weight: 0.1},
    ),
    within_label=dict(
        label='step 2, within-label contrast, weight 0.1',
        config=config,
        start='step1',
        options={f'{contrast}.type': 'WithinLabelContrastiveLoss', weight: 0.1},
    ),
)
adamw = {
    'steps.step2.optim_wrapper.optimizer': dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4
    ),
    'steps.step2.optim_wrapper.paramwise_cfg': dict(
        _delete_=True, custom_keys=dict(backbone=dict(lr_mult=0.1))
    ),
}
methods['adamw_no_contrast'] = dict(
    label='AdamW, without contrast',
    config=config,
    start='step1',
    options={**adamw, contrast: None},
)
methods['adamw_mulcon'] = dict(
    label='AdamW, MulCon, weight 0.1',
    config=config,
    start='step1',
    reference='adamw_no_contrast',
    options={**adamw, weight: 0.1},
)
methods['adamw_within_label'] = dict(
    label='AdamW, within-label contrast, weight 0.1',
    config=config,
    start='step1',
    reference='adamw_no_contrast',
    options={**adamw, f'{contrast}.type': 'WithinLabelContrastiveLoss', weight: 0.1},
)
del config, contrast, weight, adamw
