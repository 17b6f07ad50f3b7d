# ML-Decoder with a query for every label, MS-COCO 2014, ResNet-101, 448 px.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(
        type='MLDecoderNeck',
        num_classes=80,
        in_channels=2048,
        embed_dims=768,
        feedforward_channels=2048,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=80, in_channels=768),
)
