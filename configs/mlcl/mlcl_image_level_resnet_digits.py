# Label attention with contrast of whole images that share a label, scenes of digits.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=10,
        in_channels=64,
        embed_dims=128,
        num_heads=4,
        num_blocks_before=0,
        num_blocks_after=1,
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    head=dict(type='LabelWiseClsHead', num_classes=10, in_channels=128),
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
                projector=dict(hidden_channels=128, out_channels=64),
            )
        )
    )
)
