# PASCAL VOC2007 at 224 px, trained on train and tested on val, for two CPU cores. A
# label that has only "difficult" boxes is unknown: it has no loss, and the metric
# ignores it.
_base_ = ['./voc07_mlcl_448.py']

img_size = 224

data_preprocessor = dict(
    _delete_=True,
    type='MultiViewDataPreprocessor',
    # EfficientNet-Lite's own
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    to_rgb=True,
    # convolutions on a CPU run faster in this layout
    channels_last=True,
)

# MulCon's crops are made for 82,000 photographs; 2,500 need stronger ones.
crop = dict(type='RandomResizedCrop', scale=img_size, crop_ratio_range=(0.4, 1.0))
flip = dict(type='FastRandomFlip', prob=0.5, direction='horizontal')

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=20),
    crop,
    flip,
    dict(type='FastPackInputs'),
]
two_view_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=20),
    dict(type='SharedMultiView', num_views=[2], transforms=[[crop, flip]]),
    dict(type='FastPackInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=20),
    dict(type='Resize', scale=(img_size, img_size), interpolation='bilinear'),
    dict(type='FastPackInputs'),
]

train_dataloader = dict(
    num_workers=2, dataset=dict(split='train', pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=64, num_workers=2, dataset=dict(split='val', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
