# Average pooling and a linear classifier with the asymmetric loss (arXiv 2009.14119).
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/baselines/gap_asl_efflite0_voc07.py
_base_ = ['./gap_efflite0_voc07.py', '../_base_/methods/asl.py']
_base_.update(_base_.pop('method'))  # merges the method in
