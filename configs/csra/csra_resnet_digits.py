# CSRA (class-specific residual attention), scenes of digits.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    head=dict(
        type='PartialLabelCSRAHead',
        num_classes=10,
        in_channels=64,
        num_heads=1,
        lam=0.1,
    )
)
