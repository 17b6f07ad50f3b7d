# C-GMVAE on average pooling, MS-COCO 2014, ResNet-101, 448 px.
# Its weights, 0.5, 6 and 1, are divided by the number of labels: the recipes' learning
# rates are made for a loss that is a mean over labels.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='CGMVAEHead',
        num_classes=80,
        in_channels=2048,
        embed_dims=2048,
        loss=dict(type='BinaryCrossEntropyLoss', loss_weight=0.5 / 80),
        loss_reduction='batch',
        loss_kl=dict(type='GaussianMixtureKLLoss', loss_weight=6 / 80),
        loss_contrastive=dict(
            type='LabelEmbeddingContrastiveLoss', temperature=1.0, loss_weight=1 / 80
        ),
    ),
)
