# ML-Decoder with a query for every label, PASCAL VOC2007 train -> val, EfficientNet-
# Lite0.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(
        type='MLDecoderNeck',
        num_classes=20,
        in_channels=1280,
        embed_dims=512,
        feedforward_channels=2048,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=20, in_channels=512),
)
