# Contrast of whole images that share a label (SupCon, arXiv 2004.11362), on average
# pooling. _base_/methods/image_level.py names other rules.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/image_level/image_level_any_resnet_digits.py
_base_ = ['../baselines/gap_resnet_digits.py', '../_base_/methods/image_level.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=64, out_channels=64)))
    )
)
