"""Sweep of MulCon's contrast in step 2: VOC2007, frozen backbone."""

_base_ = ['./_base_/voc07_frozen.py']

title = 'Sweep of the contrast in step 2 of MulCon, frozen backbone, VOC2007'
description = (
    'As the family on a frozen backbone, for label attention only. All runs start from '
    'the same step 1, and step 2 differs in one thing at a time from weight 0.5, '
    'temperature 0.2, projector 512 -> 128, 24 images and AdamW at 1e-4. A row with '
    'another optimizer, number of images, choice of images or number of steps has its '
    'own reference: the same without contrast. Groups: each image is followed by three '
    'that share one of its labels. One step: 8 epochs of two views from random weights '
    'of neck and head, with contrast from the start.'
)
reference = 'no_contrast'
options = {
    'optim_wrapper.optimizer.lr': 1e-3,
    'steps.step2.optim_wrapper.optimizer.lr': 1e-4,
    'steps.step2.model.head.loss_contrastive.loss_weight': 0.5,
}

config = 'configs/mlcl_efflite0_voc07.py'
contrast = 'steps.step2.model.head.loss_contrastive'
optimizer = 'steps.step2.optim_wrapper.optimizer'
loss = dict(type='LabelWiseContrastiveLoss', temperature=0.2, loss_weight=0.5)
methods = dict(
    step1=dict(label='step 1', config=config, until='step1'),
    no_contrast=dict(
        label='without contrast', config=config, start='step1', options={contrast: None}
    ),
)
for value in (0.02, 0.1, 0.5, 2.0):
    methods[f'weight_{value}'] = dict(
        label=f'weight {value}',
        config=config,
        start='step1',
        options={f'{contrast}.loss_weight': value},
    )
for value in (0.05, 0.1, 0.5, 1.0):
    methods[f'temperature_{value}'] = dict(
        label=f'temperature {value}',
        config=config,
        start='step1',
        options={f'{contrast}.temperature': value},
    )
methods['temperature_1.0_weight_2.0'] = dict(
    label='temperature 1.0, weight 2.0',
    config=config,
    start='step1',
    options={f'{contrast}.temperature': 1.0, f'{contrast}.loss_weight': 2.0},
)
methods['projector_64'] = dict(
    label='projector 128 -> 64',
    config=config,
    start='step1',
    options={
        'steps.step2.model.head.projector.hidden_channels': 128,
        'steps.step2.model.head.projector.out_channels': 64,
    },
)
methods['memory'] = dict(
    label='memory of 1,024 embeddings',
    config=config,
    start='step1',
    options={
        f'{contrast}.memory': dict(type='EmbeddingMemory', size=1024, embed_dims=128)
    },
)
for value in (0.03, 0.1, 0.5):
    methods[f'within_{value}'] = dict(
        label=f'within labels, weight {value}',
        config=config,
        start='step1',
        options={
            f'{contrast}.type': 'WithinLabelContrastiveLoss',
            f'{contrast}.loss_weight': value,
        },
    )
for value in (0.5, 1.0):
    methods[f'within_0.5_temperature_{value}'] = dict(
        label=f'within labels, weight 0.5, temperature {value}',
        config=config,
        start='step1',
        options={
            f'{contrast}.type': 'WithinLabelContrastiveLoss',
            f'{contrast}.temperature': value,
        },
    )
for value in (0.1, 0.5, 1.0):
    methods[f'image_0.5_temperature_{value}'] = dict(
        label=f'image level, any, weight 0.5, temperature {value}',
        config='configs/mlcl/mlcl_image_level_efflite0_voc07.py',
        start='step1',
        options={f'{contrast}.temperature': value},
    )
sgd = dict(_delete_=True, type='SGD', momentum=0.9, weight_decay=1e-4)
pairs = {
    'sgd_0.01': (
        'SGD at 0.01',
        {optimizer: dict(sgd, lr=0.01)},
    ),
    'sgd_0.1': (
        'SGD at 0.1',
        {optimizer: dict(sgd, lr=0.1)},
    ),
    'adamw_3e-05': ('AdamW at 3e-5', {f'{optimizer}.lr': 3e-5}),
    'adamw_0.001': ('AdamW at 0.001', {f'{optimizer}.lr': 1e-3}),
    'batch_8': ('8 images', {'steps.step2.train_dataloader.batch_size': 8}),
    'batch_96': ('96 images', {'steps.step2.train_dataloader.batch_size': 96}),
    'groups': (
        'groups of 4 that share a label',
        {
            'steps.step2.train_dataloader.sampler': dict(
                _delete_=True, type='SharedLabelSampler', group_size=4
            )
        },
    ),
}
for key, (label, changes) in pairs.items():
    methods[f'{key}_no_contrast'] = dict(
        label=f'{label}, no contrast',
        config=config,
        start='step1',
        options={**changes, contrast: None},
    )
    methods[f'{key}_contrast'] = dict(
        label=f'{label}, contrast',
        config=config,
        start='step1',
        reference=f'{key}_no_contrast',
        options=changes,
    )
two_views = {
    'steps.step1.data_preprocessor': dict(num_views=2),
    # The pipeline of the frozen backbone replaces this one.
    'steps.step1.train_dataloader': dict(batch_size=24, dataset=dict(pipeline=[])),
}
methods['one_step_no_contrast'] = dict(
    label='one step, no contrast', config=config, until='step1', options=two_views
)
for weight in (0.1, 0.5):
    methods[f'one_step_{weight}'] = dict(
        label=f'one step, weight {weight}',
        config=config,
        until='step1',
        reference='one_step_no_contrast',
        options={
            **two_views,
            'steps.step1.model': dict(
                head=dict(
                    loss_contrastive=dict(loss, loss_weight=weight),
                    projector=dict(hidden_channels=512, out_channels=128),
                )
            ),
        },
    )
del config, contrast, optimizer, loss, value, sgd, pairs, key, label, changes
del two_views, weight
