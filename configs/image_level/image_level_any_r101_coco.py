# Contrast of whole images that share a label (SupCon, arXiv 2004.11362), on average
# pooling. _base_/methods/image_level.py names other rules.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/image_level/image_level_any_r101_coco.py
_base_ = ['../baselines/gap_r101_coco.py', '../_base_/methods/image_level.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=1024, out_channels=128)))
    )
)
