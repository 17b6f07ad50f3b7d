# Label attention trained for the votes of neighbours, which then join its scores (this
# project).
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/mlcl/mlcl_neighbour_vote_resnet_digits.py
_base_ = ['./mlcl_bce_resnet_digits.py', '../_base_/methods/neighbour_vote.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        # the hook writes step2/neighbours.pth
        custom_hooks=[*_base_.custom_hooks, dict(type='FillNeighboursHook')]
    )
)
