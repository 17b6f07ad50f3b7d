# Both steps for pre-trained EfficientNet-Lite0 and some thousand images: four epochs
# and two, each with a cosine over all of it.
_base_ = ['./two_steps.py']

# The rates were chosen on a split of VOC2007 train (docs/results.md).
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=4,
        by_epoch=True,
        begin=0,
        end=4,
        convert_to_iter_based=True,
    ),
]
# MulCon's 0.9997 averages over 3,300 iterations; on VOC2007 the steps have 312 and 208.
custom_hooks = [
    dict(type='EMAHook', momentum=0.02, update_buffers=True, priority='ABOVE_NORMAL')
]
train_cfg = dict(max_epochs=4)

steps = dict(
    step1=dict(train_cfg=dict(max_epochs=4)),
    step2=dict(
        # A quarter of step 1's rate; MulCon's SGD moves little in 208 iterations
        # (docs/methods_tables.md).
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4),
            paramwise_cfg=dict(_delete_=True),
        ),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max=2,
                by_epoch=True,
                begin=0,
                end=2,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(max_epochs=2),
    ),
)
