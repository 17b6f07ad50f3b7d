# Average pooling and a linear classifier with the asymmetric loss (arXiv 2009.14119).
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/baselines/gap_asl_resnet_digits.py
_base_ = ['./gap_resnet_digits.py', '../_base_/methods/asl.py']
_base_.update(_base_.pop('method'))  # merges the method in
