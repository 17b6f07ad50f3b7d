# ML-Decoder (arXiv 2111.12933) with one query per label.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/ml_decoder/ml_decoder_efflite0_voc07.py
_base_ = ['../_base_/settings/efflite0_voc07.py', '../_base_/methods/ml_decoder.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(
        num_classes=20, in_channels=1280, embed_dims=512, feedforward_channels=2048
    ),
    head=dict(in_channels=512),
)

# The best rate on a split of train (docs/methods_tables.md). The backbone keeps the
# rate of this setting.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.4)}),
)
# a quarter of step 1's rate, as in this setting
steps = dict(step2=dict(optim_wrapper=dict(optimizer=dict(lr=2.5e-4))))
