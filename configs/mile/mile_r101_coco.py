# MILe (arXiv 2111.12173) on average pooling.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/mile/mile_r101_coco.py
_base_ = ['../baselines/gap_r101_coco.py', '../_base_/methods/mile.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(custom_hooks=[*_base_.custom_hooks, *_base_.steps.step2.custom_hooks])
)
