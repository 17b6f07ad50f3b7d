# C-GMVAE (arXiv 2112.00976), with the schedule and weights published for MIRFLICKR.
# Data: the feature vectors of Yeast. tools/test.py scores on the test split.
#     python tools/train.py configs/cgmvae/cgmvae_yeast.py
_base_ = [
    '../_base_/datasets/yeast.py',
    '../_base_/default_runtime.py',
    '../_base_/methods/cgmvae.py',
]
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    type='ImageClassifier',
    backbone=dict(type='IdentityBackbone'),
    head=dict(
        num_classes=14, in_channels=103, latent_dims=64, embed_dims=2048, dropout=0.5
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
