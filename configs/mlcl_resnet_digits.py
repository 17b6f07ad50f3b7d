# Both steps of MulCon in minutes on two CPU cores and without any download: a small
# ResNet from random weights on scenes of handwritten digits. `make demo` runs it.
_base_ = [
    './_base_/datasets/digit_scenes.py',
    './_base_/schedules/mulcon_step1.py',
    './_base_/schedules/mulcon_step2.py',
    './_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    # ResNet-18 as for CIFAR, with half the width and without its last stage: an 8x8
    # map of 64 px, on which a digit covers two to four cells a side.
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        stem_channels=16,
        base_channels=32,
        num_stages=3,
        strides=(2, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=10,
        in_channels=128,
        embed_dims=128,
        num_heads=4,
        num_blocks_before=1,
        num_blocks_after=1,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=10, in_channels=128),
)

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    # nothing is pre-trained, so all parts learn at one rate
    paramwise_cfg=dict(_delete_=True),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=125),
    dict(
        type='CosineAnnealingLR',
        T_max=14,
        by_epoch=True,
        begin=0,
        end=14,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=14, val_interval=2)
custom_hooks = [
    dict(type='EMAHook', momentum=0.01, update_buffers=True, priority='ABOVE_NORMAL')
]

steps = dict(
    step1=dict(train_cfg=dict(max_epochs=14)),
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=128, out_channels=64))),
        train_dataloader=dict(
            batch_size=32, dataset=dict(pipeline={{_base_.two_view_pipeline}})
        ),
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=1e-4),
            paramwise_cfg=dict(_delete_=True),
        ),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max=4,
                by_epoch=True,
                begin=0,
                end=4,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(max_epochs=4),
    ),
)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(vis_backends=vis_backends)
randomness = dict(seed=0)
