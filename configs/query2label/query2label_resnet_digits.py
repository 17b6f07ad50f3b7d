# Query2Label (arXiv 2107.10834) with binary cross-entropy.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/query2label/query2label_resnet_digits.py
_base_ = ['../_base_/settings/resnet_digits.py', '../_base_/methods/query2label.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(num_classes=10, in_channels=64, embed_dims=128, feedforward_channels=256),
    head=dict(in_channels=128),
)
