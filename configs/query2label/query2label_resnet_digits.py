# Query2Label (encoder and decoder layers with label queries), scenes of digits.
# Query2Label publishes ASL as its loss; the recipes of this project that are not about
# the loss share binary cross-entropy.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(
        type='LabelQueryDecoder',
        num_classes=10,
        in_channels=64,
        embed_dims=128,
        num_heads=4,
        feedforward_channels=256,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=10, in_channels=128),
)
