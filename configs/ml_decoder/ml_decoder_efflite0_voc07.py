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

# The best rate on a split of train (docs/methods.md); the backbone keeps the rate it
# has in the other recipes.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.4)}),
)
# and step 2 a quarter of that, too
steps = dict(step2=dict(optim_wrapper=dict(optimizer=dict(lr=2.5e-4))))
