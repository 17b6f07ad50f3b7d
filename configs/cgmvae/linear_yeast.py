# What C-GMVAE has to beat on Yeast: one linear layer, trained alike.
_base_ = ['./cgmvae_yeast.py']

model = dict(
    head=dict(_delete_=True, type='ImageLevelClsHead', num_classes=14, in_channels=103)
)
