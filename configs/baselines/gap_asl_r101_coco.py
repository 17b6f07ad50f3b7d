# Average pooling and a linear classifier with the asymmetric loss (arXiv 2009.14119).
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/baselines/gap_asl_r101_coco.py
_base_ = ['./gap_r101_coco.py', '../_base_/methods/asl.py']
_base_.update(_base_.pop('method'))  # merges the method in
