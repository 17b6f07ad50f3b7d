# PASCAL VOC2007 at 448 px, trained on trainval and tested on test. A label that has
# only "difficult" boxes is unknown: it has no loss, and the metric ignores it.
_base_ = ['./pipelines/mulcon_rand_aug.py']

data_root = 'data/VOCdevkit/VOC2007/'
dataset_type = 'VOCMultiLabel'
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
    dict(type='LabelsToTargets', num_classes=20),
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
    dict(type='LabelsToTargets', num_classes=20),
    # the same for both views, so done once
    dict(type='Resize', scale=(img_size, img_size)),
    dict(type='SharedMultiView', num_views=[2], transforms=[view]),
    dict(type='FastPackInputs'),
]

test_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=20),
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
        split='trainval',
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
        split='test',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(
    type='MultiLabelRecognitionMetric', thr=0.5, topk=3, classwise=True
)

test_dataloader = val_dataloader
test_evaluator = val_evaluator
