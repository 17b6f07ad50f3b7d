# CSRA (class-specific residual attention), PASCAL VOC2007 train -> val, EfficientNet-
# Lite0.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    head=dict(
        type='PartialLabelCSRAHead',
        num_classes=20,
        in_channels=1280,
        num_heads=1,
        lam=0.1,
    )
)
