# Where MulCon's contrast helps and where it hurts: frozen EfficientNet-Lite0, VOC2007.
_base_ = ['./_base_/voc07_frozen.py']

title = 'Sweep of the contrast in step 2 of MulCon, frozen backbone, VOC2007'
description = (
    'As the family on a frozen backbone, for label attention only: step 1 is shared, '
    'and step 2 differs in one thing at a time from weight 0.5, temperature 0.2, '
    'projector 512 -> 128, 24 images, AdamW at 1e-3, 4 epochs.'
)
reference = 'no_contrast'

config = 'configs/mlcl_efflite0_voc07.py'
contrast = 'steps.step2.model.head.loss_contrastive'
optimizer = 'steps.step2.optim_wrapper.optimizer'
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
optimizers = {
    'sgd_0.01': dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    'sgd_0.1': dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
    'adamw_0.0003': dict(type='AdamW', lr=3e-4, weight_decay=1e-4),
    'adamw_0.004': dict(type='AdamW', lr=4e-3, weight_decay=1e-4),
}
for key, value in optimizers.items():
    for name, changes in (('no_contrast', {contrast: None}), ('contrast', {})):
        methods[f'{key}_{name}'] = dict(
            label=f'{value["type"]} at {value["lr"]}, {name.replace("_", " ")}',
            config=config,
            start='step1',
            options={optimizer: dict(_delete_=True, **value), **changes},
        )
for value in (8, 96):
    for name, changes in (('no_contrast', {contrast: None}), ('contrast', {})):
        methods[f'batch_{value}_{name}'] = dict(
            label=f'{value} images, {name.replace("_", " ")}',
            config=config,
            start='step1',
            options={'steps.step2.train_dataloader.batch_size': value, **changes},
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
methods['memory'] = dict(
    label='memory of 1,024 embeddings',
    config=config,
    start='step1',
    options={
        f'{contrast}.memory': dict(type='EmbeddingMemory', size=1024, embed_dims=128)
    },
)
del config, contrast, optimizer, optimizers, key, value, name, changes
