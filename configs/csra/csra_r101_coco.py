# CSRA (class-specific residual attention, arXiv 2108.02456).
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/csra/csra_r101_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/csra.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(head=dict(num_heads=4, lam=0.5))
