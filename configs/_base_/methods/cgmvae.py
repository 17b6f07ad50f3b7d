# C-GMVAE (arXiv 2112.00976), with its published loss weights. Its losses are sums over
# labels.
method = dict(
    model=dict(
        head=dict(
            type='CGMVAEHead',
            loss=dict(type='BinaryCrossEntropyLoss', loss_weight=0.5),
            loss_reduction='batch',
            loss_kl=dict(type='GaussianMixtureKLLoss', loss_weight=6.0),
            loss_contrastive=dict(
                type='LabelEmbeddingContrastiveLoss', temperature=1.0, loss_weight=1.0
            ),
        )
    )
)
