"""Rates of step 2 on a split of train, VOC2007, full fine-tuning."""

title = 'Rates of step 2, on a split of VOC2007 train, full fine-tuning'
description = (
    'The recipe `mlcl_efflite0_voc07.py` as under full fine-tuning, but within train: '
    '2,000 photographs for training, the other 500 for mAP. All runs of step 2 start '
    'from the same step 1. AdamW trains neck and head at the stated rate and the '
    'backbone at a tenth of it. MulCon publishes SGD at 0.01, with a tenth of it for '
    'the neck.'
)
seeds = [0]
num_tuning = 500
reference = 'step1'
config = 'configs/mlcl_efflite0_voc07.py'
contrast = 'steps.step2.model.head.loss_contrastive'
options = {
    'steps.step1.train_cfg.val_interval': 4,
    'steps.step2.train_cfg.val_interval': 2,
}
methods = dict(
    step1=dict(label='step 1', config=config, until='step1'),
    sgd=dict(
        label='SGD at 0.01, no contrast',
        config=config,
        start='step1',
        options={
            'steps.step2.optim_wrapper.optimizer': dict(
                _delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4
            ),
            'steps.step2.optim_wrapper.paramwise_cfg': dict(
                _delete_=True,
                custom_keys={'backbone': dict(lr_mult=0.1), 'neck.': dict(lr_mult=0.1)},
            ),
            contrast: None,
        },
    ),
)
for rate in (2e-4, 1e-3):
    adamw = {
        'steps.step2.optim_wrapper.optimizer': dict(
            _delete_=True, type='AdamW', lr=rate, weight_decay=1e-4
        ),
        'steps.step2.optim_wrapper.paramwise_cfg': dict(
            _delete_=True, custom_keys=dict(backbone=dict(lr_mult=0.1))
        ),
    }
    methods[f'adamw_{rate:g}'] = dict(
        label=f'AdamW at {rate:g}, no contrast',
        config=config,
        start='step1',
        options={**adamw, contrast: None},
    )
    for temperature, weight in ((0.2, 0.1), (1.0, 0.5)):
        methods[f'adamw_{rate:g}_{temperature}_{weight}'] = dict(
            label=f'AdamW at {rate:g}, temperature {temperature}, weight {weight}',
            config=config,
            start='step1',
            reference=f'adamw_{rate:g}',
            options={
                **adamw,
                f'{contrast}.temperature': temperature,
                f'{contrast}.loss_weight': weight,
            },
        )
del config, contrast, rate, adamw, temperature, weight
