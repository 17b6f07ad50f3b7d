# MulCon (arXiv 2107.11626), both steps.
# Data: MS-COCO 2014, with Swin-S at 448 px.
#     python tools/train.py configs/mlcl/mlcl_swin-s_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/mulcon.py']
_base_.update(_base_.pop('method'))  # merges the method in

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
    # no block before: a deep backbone has already mixed the places of its map
    neck=dict(num_classes=80, in_channels=768, embed_dims=768, num_blocks_before=0),
    head=dict(in_channels=768),
)

# the usual rate of fine-tuning such backbones, with a tenth of it inside them
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05), clip_grad=dict(max_norm=5.0)
)

steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=768))),
        # MulCon's SGD is made for a ResNet
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type='AdamW', lr=2e-5, weight_decay=0.05)
        ),
    )
)
