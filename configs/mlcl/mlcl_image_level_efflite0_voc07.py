# Label attention with contrast of whole images that share a label (SupCon, arXiv
# 2004.11362). _base_/methods/image_level.py names other rules.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/mlcl/mlcl_image_level_efflite0_voc07.py
_base_ = ['./mlcl_bce_efflite0_voc07.py', '../_base_/methods/image_level.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=512, out_channels=128)))
    )
)
