# C-GMVAE on Yeast's vectors; tools/test.py scores the best epoch on the test split.
# Schedule and weights of the losses are those published for another set of vectors
# (MIRFLICKR).
_base_ = ['../_base_/datasets/yeast.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='IdentityBackbone'),
    head=dict(
        type='CGMVAEHead',
        num_classes=14,
        in_channels=103,
        latent_dims=64,
        embed_dims=2048,
        dropout=0.5,
        loss=dict(type='BinaryCrossEntropyLoss', loss_weight=0.5),
        loss_reduction='batch',
        loss_kl=dict(type='GaussianMixtureKLLoss', loss_weight=6.0),
        loss_contrastive=dict(
            type='LabelEmbeddingContrastiveLoss', temperature=1.0, loss_weight=1.0
        ),
    ),
)

optim_wrapper = dict(optimizer=dict(type='Adam', lr=2e-3, weight_decay=1e-5))

# torch's CosineAnnealingWarmRestarts with T_0=50 and T_mult=2
param_scheduler = [
    dict(
        type='CosineRestartLR',
        periods=[50, 100],
        restart_weights=[1, 1],
        eta_min=2e-4,
        by_epoch=True,
    )
]

train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=128)
randomness = dict(seed=0)
