# C-GMVAE (arXiv 2112.00976) on average pooling.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/cgmvae/cgmvae_r101_coco.py
_base_ = ['../_base_/settings/r101_coco.py', '../_base_/methods/cgmvae.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    # The published weights divided by the number of labels: the learning rates of this
    # setting are made for a mean over labels.
    head=dict(
        embed_dims=2048,
        loss=dict(loss_weight=0.5 / 80),
        loss_kl=dict(loss_weight=6 / 80),
        loss_contrastive=dict(loss_weight=1 / 80),
    ),
)
