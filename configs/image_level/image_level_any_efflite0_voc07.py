# Contrast of whole images that share a label, on average pooling: PASCAL VOC2007 train
# -> val, EfficientNet-Lite0.
# Other rules: --cfg-options steps.step2.model.head.loss_contrastive.rule=jaccard
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ImageLevelClsHead', num_classes=20, in_channels=1280),
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
