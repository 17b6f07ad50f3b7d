# Average pooling and a linear classifier with the asymmetric loss, scenes of digits.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='ImageLevelClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='StableAsymmetricLoss', gamma_pos=0, gamma_neg=4, clip=0.05),
    ),
)
