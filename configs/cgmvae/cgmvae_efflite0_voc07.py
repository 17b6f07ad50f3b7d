# C-GMVAE (arXiv 2112.00976) on average pooling.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/cgmvae/cgmvae_efflite0_voc07.py
_base_ = ['../_base_/settings/efflite0_voc07.py', '../_base_/methods/cgmvae.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    # The published weights divided by the number of labels: the learning rates of this
    # setting are made for a mean over labels.
    head=dict(
        embed_dims=512,
        loss=dict(loss_weight=0.5 / 20),
        loss_kl=dict(loss_weight=6 / 20),
        loss_contrastive=dict(loss_weight=1 / 20),
    ),
)
