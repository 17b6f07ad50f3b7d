# MulCon on Swin-S, MS-COCO 2014, 448 px: both steps.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        arch='small',
        img_size=448,
        # also takes images whose map is smaller than a window
        pad_small_map=True,
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/'
            'swin_small_224_b16x64_300e_imagenet_20210615_110219-7f9d988b.pth',
            prefix='backbone',
        ),
    ),
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=80,
        in_channels=768,
        embed_dims=768,
        num_heads=4,
        # deep backbones have mixed the places already
        num_blocks_before=0,
        num_blocks_after=1,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=80, in_channels=768),
)

# the rate at which such backbones are fine-tuned, a tenth of it inside them
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05), clip_grad=dict(max_norm=5.0)
)

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                loss_contrastive=dict(
                    type='LabelWiseContrastiveLoss', temperature=0.2, loss_weight=0.5
                ),
                projector=dict(hidden_channels=768, out_channels=128),
            )
        ),
        # step 2's SGD is made for a ResNet
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type='AdamW', lr=2e-5, weight_decay=0.05)
        ),
    )
)
