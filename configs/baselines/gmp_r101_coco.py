# Maximum pooling and a linear classifier with binary cross-entropy.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/baselines/gmp_r101_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/gmp.py']
_base_.update(_base_.pop('method'))  # merges the method in
