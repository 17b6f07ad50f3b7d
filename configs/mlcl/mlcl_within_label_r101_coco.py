# Label attention with contrast within each label (this project).
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/mlcl/mlcl_within_label_r101_coco.py
_base_ = ['./mlcl_bce_r101_coco.py', '../_base_/methods/within_label.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=1024, out_channels=128)))
    )
)
