# Contrast of whole images that share a label, on average pooling: scenes of digits.
# Other rules: --cfg-options steps.step2.model.head.loss_contrastive.rule=jaccard
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ImageLevelClsHead', num_classes=10, in_channels=64),
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
                projector=dict(hidden_channels=64, out_channels=64),
            )
        )
    )
)
