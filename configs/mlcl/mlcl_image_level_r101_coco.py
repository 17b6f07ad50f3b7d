# Label attention with contrast of whole images that share a label, MS-COCO 2014,
# ResNet-101, 448 px.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=80,
        in_channels=2048,
        embed_dims=1024,
        num_heads=4,
        num_blocks_before=2,
        num_blocks_after=1,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=80, in_channels=1024),
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
                projector=dict(hidden_channels=1024, out_channels=128),
            )
        )
    )
)
