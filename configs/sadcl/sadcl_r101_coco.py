# SADCL on Query2Label without self-attention of the labels, MS-COCO 2014, ResNet-101,
# 448 px.
# Prototypes and memory start from what the first step has learned.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(
        type='LabelQueryDecoder',
        num_classes=80,
        in_channels=2048,
        embed_dims=2048,
        num_heads=4,
        feedforward_channels=8192,
        self_attention=False,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=80, in_channels=2048),
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
                num_slots=48,
                projector=dict(hidden_channels=2048, out_channels=1024),
            )
        ),
        custom_hooks=[
            dict(
                type='EMAHook',
                momentum=0.0003,
                update_buffers=True,
                priority='ABOVE_NORMAL',
            ),
            dict(type='PrototypeInitHook', thr=0.85),
        ],
    )
)
