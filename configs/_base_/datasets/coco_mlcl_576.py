# MS-COCO 2014 at 576 px: as at 448 px, except for the sizes of image and cut-out.
_base_ = ['./coco_mlcl_448.py']

img_size = 576

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', scale=img_size, crop_ratio_range=(0.875, 1.0)),
    dict(type='FastRandomFlip', prob=0.5, direction='horizontal'),
    {{_base_.rand_augment_576}},
    dict(type='FastPackInputs'),
]
view = [
    dict(type='FastRandomFlip', prob=0.5, direction='horizontal'),
    {{_base_.rand_augment_576}},
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

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
