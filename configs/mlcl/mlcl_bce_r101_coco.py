# Label attention, the network of MulCon (arXiv 2107.11626), without contrast.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/mlcl/mlcl_bce_r101_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/label_attention.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(neck=dict(num_classes=80, in_channels=2048))
