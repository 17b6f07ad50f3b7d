# Your own photographs with EfficientNet-Lite0 at 224 px, for two CPU cores: all that
# mlcl_efflite0_tabular.py does not set.
_base_ = [
    '../models/efflite0.py',
    '../datasets/tabular_mlcl_224.py',
    '../schedules/two_steps.py',
    '../default_runtime.py',
]

# as for VOC2007
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    # over the first epoch, however few images there are
    dict(
        type='LinearLR',
        start_factor=0.1,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=4,
        by_epoch=True,
        begin=0,
        end=4,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(type='EMAHook', momentum=0.02, update_buffers=True, priority='ABOVE_NORMAL')
]

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}})),
        # a quarter of step 1's rate, as for VOC2007
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
    )
)
randomness = dict(seed=0)
