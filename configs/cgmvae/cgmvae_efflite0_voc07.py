# C-GMVAE on average pooling, PASCAL VOC2007 train -> val, EfficientNet-Lite0.
# Its weights, 0.5, 6 and 1, are divided by the number of labels: the recipes' learning
# rates are made for a loss that is a mean over labels.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='CGMVAEHead',
        num_classes=20,
        in_channels=1280,
        embed_dims=512,
        loss=dict(type='BinaryCrossEntropyLoss', loss_weight=0.5 / 20),
        loss_reduction='batch',
        loss_kl=dict(type='GaussianMixtureKLLoss', loss_weight=6 / 20),
        loss_contrastive=dict(
            type='LabelEmbeddingContrastiveLoss', temperature=1.0, loss_weight=1 / 20
        ),
    ),
)
