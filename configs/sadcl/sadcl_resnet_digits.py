# SADCL on Query2Label without self-attention of the labels, scenes of digits.
# Prototypes and memory start from what the first step has learned.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(
        type='LabelQueryDecoder',
        num_classes=10,
        in_channels=64,
        embed_dims=128,
        num_heads=4,
        feedforward_channels=256,
        self_attention=False,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=10, in_channels=128),
)

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                type='SADCLHead',
                loss_contrastive=dict(
                    type='LabelWiseContrastiveLoss',
                    temperature=0.2,
                    loss_weight=0.1,
                    across_processes=False,
                ),
                loss_prototype=dict(
                    type='PrototypeContrastiveLoss', temperature=0.07, loss_weight=0.05
                ),
                # the views of a batch
                num_slots=64,
                projector=dict(hidden_channels=128, out_channels=64),
            )
        ),
        custom_hooks=[
            dict(
                type='EMAHook',
                momentum=0.01,
                update_buffers=True,
                priority='ABOVE_NORMAL',
            ),
            dict(type='PrototypeInitHook', thr=0.85),
        ],
    )
)
