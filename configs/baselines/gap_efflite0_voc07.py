# Average pooling and a linear classifier with binary cross-entropy, PASCAL VOC2007
# train -> val, EfficientNet-Lite0.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ImageLevelClsHead', num_classes=20, in_channels=1280),
)
