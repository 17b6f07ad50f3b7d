# MulCon (arXiv 2107.11626) as in mlcl_resnet_digits.py, on smaller and simpler scenes
# that are learned in fewer epochs: the recipe of `make demo`.
# Data: scenes of handwritten digits of 48 px, with half a ResNet-18; `make demo` makes
# them.
#     mlcl train mlcl_resnet_digits_48px
_base_ = ['../mlcl_resnet_digits.py']

data_root = 'data/digit_scenes_48px/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader

param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        T_max=9,
        by_epoch=True,
        begin=0,
        end=9,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=9, val_interval=3)
steps = dict(
    step1=dict(train_cfg=dict(max_epochs=9, val_interval=3)),
    step2=dict(
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max=1,
                by_epoch=True,
                begin=0,
                end=1,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(max_epochs=1),
    ),
)
