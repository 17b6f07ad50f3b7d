# KMCL with isotropic kernels on average pooling.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/kmcl/kmcl_resnet_digits.py
_base_ = ['../_base_/settings/resnet_digits.py', '../_base_/methods/kmcl.py']
_base_.update(_base_.pop('method'))  # merges the method in

# The sums are divided by the 320 entries of a batch of step 1: the learning rates of
# this setting are made for a mean.
model = dict(
    head=dict(
        loss=dict(loss_weight=1 / 320),
        loss_reconstruction=dict(loss_weight=1 / 320),
        loss_contrastive=dict(loss_weight=1 / 320),
    )
)
