# Average pooling and a linear classifier with the asymmetric loss, MS-COCO 2014,
# ResNet-101, 448 px.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='ImageLevelClsHead',
        num_classes=80,
        in_channels=2048,
        loss=dict(type='StableAsymmetricLoss', gamma_pos=0, gamma_neg=4, clip=0.05),
    ),
)
