# Label attention with contrast of whole images that share a label, PASCAL VOC2007 train
# -> val,
# EfficientNet-Lite0.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=20,
        in_channels=1280,
        embed_dims=512,
        num_heads=4,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=20, in_channels=512),
)

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                loss_contrastive=dict(
                    type='ImageLevelContrastiveLoss',
                    rule='any',
                    temperature=0.1,
                    loss_weight=0.1,
                ),
                projector=dict(hidden_channels=512, out_channels=128),
            )
        )
    )
)
