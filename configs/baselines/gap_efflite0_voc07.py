# Average pooling and a linear classifier with binary cross-entropy.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/baselines/gap_efflite0_voc07.py
_base_ = ['../_base_/settings/efflite0_voc07.py', '../_base_/methods/gap.py']
_base_.update(_base_.pop('method'))  # merges the method in
