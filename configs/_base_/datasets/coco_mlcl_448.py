# MS-COCO 2014 at 448 px, as MulCon trains and tests on it.
_base_ = ['./pipelines/mulcon_rand_aug.py']

data_root = 'data/coco/'
dataset_type = 'CocoMultiLabel'
img_size = 448

data_preprocessor = dict(
    type='MultiViewDataPreprocessor',
    # ImageNet's mean and deviation, RGB
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

# step 1: one view
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', scale=img_size, crop_ratio_range=(0.875, 1.0)),
    dict(type='FastRandomFlip', prob=0.5, direction='horizontal'),
    {{_base_.rand_augment}},
    dict(type='FastPackInputs'),
]

# step 2: two independent draws
view = [
    dict(type='FastRandomFlip', prob=0.5, direction='horizontal'),
    {{_base_.rand_augment}},
]
two_view_pipeline = [
    dict(type='LoadImage'),
    # the same for both views, so done once
    dict(type='Resize', scale=(img_size, img_size)),
    dict(type='SharedMultiView', num_views=[2], transforms=[view]),
    dict(type='FastPackInputs'),
]

test_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(img_size, img_size), interpolation='bilinear'),
    dict(type='FastPackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train2014.json',
        data_prefix=dict(img_path='train2014'),
        pipeline=train_pipeline,
    ),
)

val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val2014.json',
        data_prefix=dict(img_path='val2014'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(
    type='MultiLabelRecognitionMetric', thr=0.5, topk=3, classwise=True
)

test_dataloader = val_dataloader
test_evaluator = val_evaluator
