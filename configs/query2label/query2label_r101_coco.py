# Query2Label (arXiv 2107.10834) with binary cross-entropy.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/query2label/query2label_r101_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/query2label.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(
        num_classes=80, in_channels=2048, embed_dims=2048, feedforward_channels=8192
    ),
    head=dict(in_channels=2048),
)
