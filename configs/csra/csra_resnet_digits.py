# CSRA (class-specific residual attention, arXiv 2108.02456).
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/csra/csra_resnet_digits.py
_base_ = ['../_base_/settings/resnet_digits.py', '../_base_/methods/csra.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(head=dict(num_heads=1, lam=0.1))
