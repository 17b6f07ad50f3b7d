# Contrast of whole images that share a label, on average pooling: MS-COCO 2014,
# ResNet-101, 448 px.
# Other rules: --cfg-options steps.step2.model.head.loss_contrastive.rule=jaccard
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ImageLevelClsHead', num_classes=80, in_channels=2048),
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
