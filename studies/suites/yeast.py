"""C-GMVAE against a linear layer on plain feature vectors."""

title = 'Plain feature vectors: Yeast'
description = (
    'Yeast (103 features, 14 labels), trained on train and scored on test with the '
    'recipes `configs/cgmvae/*_yeast.py`, except that no epoch is chosen by val: the '
    'last of 90 epochs counts.'
)
seeds = [0, 1, 2, 3, 4]
reference = 'linear'
options = {'train_cfg.val_interval': 90, 'val_dataloader.dataset.split': 'test'}
methods = dict(
    linear=dict(label='one linear layer, BCE', config='configs/cgmvae/linear_yeast.py'),
    cgmvae=dict(label='C-GMVAE', config='configs/cgmvae/cgmvae_yeast.py'),
)
