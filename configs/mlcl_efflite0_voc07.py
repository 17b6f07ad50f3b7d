# MulCon (arXiv 2107.11626), both steps, for two CPU cores. How its rates were chosen:
# docs/results.md; rates and weights of the contrast: docs/methods_tables.md.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/mlcl_efflite0_voc07.py
_base_ = ['./_base_/settings/efflite0_voc07.py', './_base_/methods/mulcon.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    # The published neck has 44 M parameters, too many for 2,500 photographs: label
    # attention alone, as in MulCon's first arXiv version, at half the width.
    neck=dict(
        num_classes=20,
        in_channels=1280,
        embed_dims=512,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(in_channels=512),
)
steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                # for mAP alone, loss_contrastive=None saves time
                loss_contrastive=dict(loss_weight=0.1),
                projector=dict(hidden_channels=512),
            )
        )
    )
)
