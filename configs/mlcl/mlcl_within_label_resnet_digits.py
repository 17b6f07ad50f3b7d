# Label attention with contrast within each label (this project).
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/mlcl/mlcl_within_label_resnet_digits.py
_base_ = ['./mlcl_bce_resnet_digits.py', '../_base_/methods/within_label.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=128, out_channels=64)))
    )
)
