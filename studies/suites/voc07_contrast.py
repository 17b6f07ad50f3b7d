"""Step 2 of MulCon with and without contrast: VOC2007, full fine-tuning."""

title = 'Step 2 of MulCon with and without contrast, VOC2007, full fine-tuning'
description = (
    'PASCAL VOC2007 train -> val (2,500 and 1,508 photographs), EfficientNet-Lite0 at '
    '224 px, all weights trained, the recipe `mlcl_efflite0_voc07.py`: 4 epochs of '
    'step 1 and, from its weights, 2 epochs of step 2 with two views of every image. '
    'All runs of step 2 start from step 1 of their seed. MulCon publishes SGD at 0.01, '
    'with a tenth of it for the neck. AdamW at 0.001, with a tenth of it for the '
    'backbone, was better on a split of train. Contrast of images acts on the mean '
    'label embedding.'
)
seeds = [0, 1, 2]
reference = 'adamw_no_contrast'
config = 'configs/mlcl_efflite0_voc07.py'
contrast = 'steps.step2.model.head.loss_contrastive'
weight = f'{contrast}.loss_weight'
within = {f'{contrast}.type': 'WithinLabelContrastiveLoss', weight: 0.1}
# Validate once, at the end of each step.
options = {
    'steps.step1.train_cfg.val_interval': 4,
    'steps.step2.train_cfg.val_interval': 2,
}
# How label embeddings are measured: mlcl_plugin/evaluation/embedding_quality.py
embeddings = dict(shots=[1, 5], repeats=5, seed=0)
sgd = {
    'steps.step2.optim_wrapper.optimizer': dict(
        _delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4
    ),
    'steps.step2.optim_wrapper.paramwise_cfg': dict(
        _delete_=True,
        custom_keys={'backbone': dict(lr_mult=0.1), 'neck.': dict(lr_mult=0.1)},
    ),
}
adamw = {
    'steps.step2.optim_wrapper.optimizer': dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4
    ),
    'steps.step2.optim_wrapper.paramwise_cfg': dict(
        _delete_=True, custom_keys=dict(backbone=dict(lr_mult=0.1))
    ),
}
methods = dict(
    step1=dict(label='step 1: label attention, BCE', config=config, until='step1')
)
for key, label, optimizer in (
    ('adamw_', 'AdamW', adamw),
    ('', 'SGD', sgd),
):
    base = f'{key}no_contrast'
    for name, text, changes in (
        ('no_contrast', 'without contrast', {contrast: None}),
        ('mulcon', 'MulCon, weight 0.5', {weight: 0.5}),
        ('mulcon_weak', 'MulCon, weight 0.1', {weight: 0.1}),
        ('within_label', 'within-label contrast, weight 0.1', within),
    ):
        methods[key + name] = dict(
            label=f'{label}, {text}',
            config=config,
            start='step1',
            reference=None if name == 'no_contrast' else base,
            options={**optimizer, **changes},
        )
methods['adamw_within_strong'] = dict(
    label='AdamW, within-label contrast, weight 0.5, temperature 0.5',
    config='configs/mlcl/mlcl_within_label_efflite0_voc07.py',
    start='step1',
    options={**adamw, weight: 0.5, f'{contrast}.temperature': 0.5},
)
methods['adamw_image_any'] = dict(
    label='AdamW, image level, any, weight 0.1',
    config='configs/mlcl/mlcl_image_level_efflite0_voc07.py',
    start='step1',
    options=adamw,
)
del config, contrast, weight, within, sgd, adamw, key, label, optimizer, base
del name, text, changes
