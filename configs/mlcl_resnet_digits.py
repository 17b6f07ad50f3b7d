# MulCon (arXiv 2107.11626) in minutes on two CPU cores.
# Data: scenes of handwritten digits, with half a ResNet-18; nothing to download.
#     python tools/train.py configs/mlcl_resnet_digits.py
_base_ = ['./_base_/settings/resnet_digits.py', './_base_/methods/mulcon.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(
        num_classes=10,
        in_channels=64,
        embed_dims=128,
        # a block here would spread a digit's features over the background
        num_blocks_before=0,
        num_blocks_after=1,
        # leaves even attention, where every label starts, in fewer iterations
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    head=dict(in_channels=128),
)
steps = dict(
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=128, out_channels=64)))
    )
)
