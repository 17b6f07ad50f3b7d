# SADCL on Query2Label without self-attention of the labels, PASCAL VOC2007 train ->
# val, EfficientNet-Lite0.
# Prototypes and memory start from what the first step has learned.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(
        type='LabelQueryDecoder',
        num_classes=20,
        in_channels=1280,
        embed_dims=512,
        num_heads=4,
        feedforward_channels=2048,
        self_attention=False,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=20, in_channels=512),
)

# The rate of Query2Label, whose decoder it shares.
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}),
)

steps = dict(
    step2=dict(
        # a quarter, too, of the rate of step 1
        optim_wrapper=dict(optimizer=dict(lr=7.5e-5)),
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
                projector=dict(hidden_channels=512, out_channels=256),
            )
        ),
        custom_hooks=[
            dict(
                type='EMAHook',
                momentum=0.02,
                update_buffers=True,
                priority='ABOVE_NORMAL',
            ),
            dict(type='PrototypeInitHook', thr=0.85),
        ],
    )
)
