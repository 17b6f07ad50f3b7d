# Label attention, the network of MulCon (arXiv 2107.11626), without contrast.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/mlcl/mlcl_bce_efflite0_voc07.py
_base_ = [
    '../_base_/settings/efflite0_voc07.py',
    '../_base_/methods/label_attention.py',
]
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    # the widths of mlcl_efflite0_voc07.py
    neck=dict(
        num_classes=20,
        in_channels=1280,
        embed_dims=512,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(in_channels=512),
)
