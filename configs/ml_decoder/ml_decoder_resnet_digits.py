# ML-Decoder (arXiv 2111.12933) with one query per label.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/ml_decoder/ml_decoder_resnet_digits.py
_base_ = ['../_base_/settings/resnet_digits.py', '../_base_/methods/ml_decoder.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(num_classes=10, in_channels=64, embed_dims=128, feedforward_channels=256),
    head=dict(in_channels=128),
)
