# MulCon (arXiv 2107.11626) as in mlcl_resnet_digits.py, on smaller and simpler scenes
# that are learned in fewer epochs: the recipe of `make demo`.
# Data: scenes of handwritten digits, with half a ResNet-18, 48 px; made by `make demo`.
#     python tools/train.py configs/mlcl/mlcl_resnet_digits_48px.py
_base_ = ['../mlcl_resnet_digits.py']

data_root = 'data/digit_scenes_48px/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

cosine = dict(type='CosineAnnealingLR', T_max=9, end=9, convert_to_iter_based=True)
last = dict(type='CosineAnnealingLR', T_max=1, end=1, convert_to_iter_based=True)
warm_up = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100)
param_scheduler = [warm_up, cosine]
train_cfg = dict(max_epochs=9, val_interval=3)
steps = dict(
    step1=dict(train_cfg=dict(max_epochs=9, val_interval=3)),
    step2=dict(param_scheduler=[last], train_cfg=dict(max_epochs=1)),
)
