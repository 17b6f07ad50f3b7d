# Maximum pooling and a linear classifier with binary cross-entropy, scenes of digits.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(type='GlobalMaxPooling'),
    head=dict(type='ImageLevelClsHead', num_classes=10, in_channels=64),
)
