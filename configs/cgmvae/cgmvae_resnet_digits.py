# C-GMVAE on average pooling, scenes of digits.
# Its weights, 0.5, 6 and 1, are divided by the number of labels: the recipes' learning
# rates are made for a loss that is a mean over labels.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='CGMVAEHead',
        num_classes=10,
        in_channels=64,
        embed_dims=128,
        loss=dict(type='BinaryCrossEntropyLoss', loss_weight=0.5 / 10),
        loss_reduction='batch',
        loss_kl=dict(type='GaussianMixtureKLLoss', loss_weight=6 / 10),
        loss_contrastive=dict(
            type='LabelEmbeddingContrastiveLoss', temperature=1.0, loss_weight=1 / 10
        ),
    ),
)
