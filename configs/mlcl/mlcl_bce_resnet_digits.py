# Label attention, the network of MulCon (arXiv 2107.11626), without contrast.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/mlcl/mlcl_bce_resnet_digits.py
_base_ = ['../_base_/settings/resnet_digits.py', '../_base_/methods/label_attention.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    # the widths of mlcl_resnet_digits.py
    neck=dict(
        num_classes=10,
        in_channels=64,
        embed_dims=128,
        num_blocks_before=0,
        num_blocks_after=1,
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    head=dict(in_channels=128),
)
