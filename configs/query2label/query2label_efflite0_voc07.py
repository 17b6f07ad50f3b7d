# Query2Label (arXiv 2107.10834) with binary cross-entropy.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/query2label/query2label_efflite0_voc07.py
_base_ = ['../_base_/settings/efflite0_voc07.py', '../_base_/methods/query2label.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(
        num_classes=20, in_channels=1280, embed_dims=512, feedforward_channels=2048
    ),
    head=dict(in_channels=512),
)

# The best rate on a split of train: the 4e-3 of this setting is too high for a
# transformer (docs/methods_tables.md). The backbone keeps about the rate it has there.
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=1.0)}),
)
# a quarter of step 1's rate, as in this setting
steps = dict(step2=dict(optim_wrapper=dict(optimizer=dict(lr=7.5e-5))))
