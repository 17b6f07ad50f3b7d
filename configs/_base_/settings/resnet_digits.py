# Scenes of handwritten digits with half a ResNet-18 from random weights: minutes on two
# CPU cores, nothing to download. A method adds neck and head.
_base_ = [
    '../datasets/digit_scenes.py',
    '../schedules/two_steps.py',
    '../default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    # The first two of four stages, at half the width: an 8x8 map of 64 channels, on
    # which a digit is two to four cells wide.
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=32,
        base_channels=32,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        # zero_init_residual helps deep networks; four blocks do not need it
        zero_init_residual=False,
    ),
    head=dict(num_classes=10, in_channels=64),
)

optim_wrapper = dict(
    # Adam's usual rate for random weights
    optimizer=dict(lr=1e-3),
    # nothing is pre-trained, so all parts learn at one rate
    paramwise_cfg=dict(_delete_=True),
)
param_scheduler = [
    # 100 of the 156 iterations of the first epoch
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        T_max=16,
        by_epoch=True,
        begin=0,
        end=16,
        convert_to_iter_based=True,
    ),
]
# MulCon's 0.9997 averages over 3,300 iterations, more than there are.
custom_hooks = [
    dict(type='EMAHook', momentum=0.01, update_buffers=True, priority='ABOVE_NORMAL')
]
# 2,500 iterations: enough for mAP to level off
train_cfg = dict(max_epochs=16, val_interval=2)

steps = dict(
    step1=dict(train_cfg=dict(max_epochs=16)),
    step2=dict(
        train_dataloader=dict(
            # 32 images are 64 views with some 150 label embeddings to contrast
            batch_size=32,
            dataset=dict(pipeline={{_base_.two_view_pipeline}}),
        ),
        # half of step 1's rate; MulCon's SGD is made for pre-trained weights
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
        train_cfg=dict(max_epochs=4, val_interval=1),
        auto_scale_lr=dict(base_batch_size=32),
    ),
)

# losses, learning rate and mAP as curves: tensorboard --logdir work_dirs
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(vis_backends=vis_backends)

randomness = dict(seed=0)
