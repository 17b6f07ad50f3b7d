# MulCon (arXiv 2107.11626), both steps, as with Swin-S.
# Data: MS-COCO 2014, with DINOv2 ViT-B/14 at 448 px.
#     python tools/train.py configs/mlcl/mlcl_vit-b-dinov2_coco.py
_base_ = ['./mlcl_swin-s_coco.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch='base',
        img_size=448,
        patch_size=14,
        layer_scale_init_value=1e-5,
        out_type='featmap',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmpretrain/v1.0/dinov2/'
            'vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth',
            prefix='backbone',
        ),
    )
)
