# Label attention trained for the votes of neighbours, which then join its scores (this
# project).
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/mlcl/mlcl_neighbour_vote_r101_coco.py
_base_ = ['./mlcl_bce_r101_coco.py', '../_base_/methods/neighbour_vote.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        # the hook writes step2/neighbours.pth
        custom_hooks=[*_base_.custom_hooks, dict(type='FillNeighboursHook')]
    )
)
