# ML-Decoder (arXiv 2111.12933) with one query per label.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/ml_decoder/ml_decoder_r101_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/ml_decoder.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(
        num_classes=80, in_channels=2048, embed_dims=768, feedforward_channels=2048
    ),
    head=dict(in_channels=768),
)
