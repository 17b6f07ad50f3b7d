# Query2Label (encoder and decoder layers with label queries), MS-COCO 2014, ResNet-101,
# 448 px.
# Query2Label publishes ASL as its loss; the recipes of this project that are not about
# the loss share binary cross-entropy.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(
        type='LabelQueryDecoder',
        num_classes=80,
        in_channels=2048,
        embed_dims=2048,
        num_heads=4,
        feedforward_channels=8192,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=80, in_channels=2048),
)
