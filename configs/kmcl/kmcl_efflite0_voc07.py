# KMCL with isotropic kernels on average pooling.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/kmcl/kmcl_efflite0_voc07.py
_base_ = ['../_base_/settings/efflite0_voc07.py', '../_base_/methods/kmcl.py']
_base_.update(_base_.pop('method'))  # merges the method in

# The sums are divided by the 640 entries of a batch of step 1: the learning rates of
# this setting are made for a mean.
model = dict(
    head=dict(
        loss=dict(loss_weight=1 / 640),
        loss_reconstruction=dict(loss_weight=1 / 640),
        loss_contrastive=dict(loss_weight=1 / 640),
    )
)
