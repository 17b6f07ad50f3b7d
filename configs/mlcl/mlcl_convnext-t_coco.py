# MulCon (arXiv 2107.11626), both steps, as with Swin-S.
# Data: MS-COCO 2014, with ConvNeXt-T at 448 px.
#     python tools/train.py configs/mlcl/mlcl_convnext-t_coco.py
_base_ = ['./mlcl_swin-s_coco.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='ConvNeXt',
        arch='tiny',
        drop_path_rate=0.1,
        gap_before_final_norm=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/convnext/'
            'convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth',
            prefix='backbone',
        ),
    )
)
