# CSRA (class-specific residual attention, arXiv 2108.02456).
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/csra/csra_efflite0_voc07.py
_base_ = ['../_base_/settings/efflite0_voc07.py', '../_base_/methods/csra.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(head=dict(num_heads=1, lam=0.1))
