# Average pooling and a linear classifier with the asymmetric loss, PASCAL VOC2007 train
# -> val, EfficientNet-Lite0.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='ImageLevelClsHead',
        num_classes=20,
        in_channels=1280,
        loss=dict(type='StableAsymmetricLoss', gamma_pos=0, gamma_neg=4, clip=0.05),
    ),
)
