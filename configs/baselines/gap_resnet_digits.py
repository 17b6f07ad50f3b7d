# Average pooling and a linear classifier with binary cross-entropy.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/baselines/gap_resnet_digits.py
_base_ = ['../_base_/settings/resnet_digits.py', '../_base_/methods/gap.py']
_base_.update(_base_.pop('method'))  # merges the method in
