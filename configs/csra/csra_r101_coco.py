# CSRA (class-specific residual attention), MS-COCO 2014, ResNet-101, 448 px.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    head=dict(
        type='PartialLabelCSRAHead',
        num_classes=80,
        in_channels=2048,
        num_heads=4,
        lam=0.5,
    )
)
