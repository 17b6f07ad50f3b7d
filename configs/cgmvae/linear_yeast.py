# One linear layer, the baseline of C-GMVAE, trained alike.
# Data: the feature vectors of Yeast.
#     python tools/train.py configs/cgmvae/linear_yeast.py
_base_ = ['./cgmvae_yeast.py']

model = dict(
    head=dict(_delete_=True, type='ImageLevelClsHead', num_classes=14, in_channels=103)
)
