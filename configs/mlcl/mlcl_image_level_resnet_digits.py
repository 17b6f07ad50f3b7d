# Label attention with contrast of whole images that share a label (SupCon, arXiv
# 2004.11362). _base_/methods/image_level.py names other rules.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/mlcl/mlcl_image_level_resnet_digits.py
_base_ = ['./mlcl_bce_resnet_digits.py', '../_base_/methods/image_level.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=128, out_channels=64)))
    )
)
