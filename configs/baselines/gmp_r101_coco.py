# Maximum pooling and a linear classifier with binary cross-entropy, MS-COCO 2014,
# ResNet-101, 448 px.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(type='GlobalMaxPooling'),
    head=dict(type='ImageLevelClsHead', num_classes=80, in_channels=2048),
)
