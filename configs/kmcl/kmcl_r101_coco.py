# KMCL with isotropic kernels on average pooling.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/kmcl/kmcl_r101_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/kmcl.py']
_base_.update(_base_.pop('method'))  # merges the method in

# The sums are divided by the 2560 entries of a batch of step 1: the learning rates of
# this setting are made for a mean.
model = dict(
    head=dict(
        loss=dict(loss_weight=1 / 2560),
        loss_reconstruction=dict(loss_weight=1 / 2560),
        loss_contrastive=dict(loss_weight=1 / 2560),
    )
)
