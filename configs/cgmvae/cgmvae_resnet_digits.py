# C-GMVAE (arXiv 2112.00976) on average pooling.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/cgmvae/cgmvae_resnet_digits.py
_base_ = ['../_base_/settings/resnet_digits.py', '../_base_/methods/cgmvae.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    # The published weights divided by the number of labels: the learning rates of this
    # setting are made for a mean over labels.
    head=dict(
        embed_dims=128,
        loss=dict(loss_weight=0.5 / 10),
        loss_kl=dict(loss_weight=6 / 10),
        loss_contrastive=dict(loss_weight=1 / 10),
    ),
)
