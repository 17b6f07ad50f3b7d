# Your own photographs at 224 px: a folder of images, a table for training and one for
# validation. The docstring of TabularMultiLabel describes the tables.
data_root = 'data/photos/'
dataset_type = 'TabularMultiLabel'
img_size = 224

data_preprocessor = dict(
    type='MultiViewDataPreprocessor',
    # EfficientNet-Lite's own
    mean=[127.0, 127.0, 127.0],
    std=[128.0, 128.0, 128.0],
    to_rgb=True,
    # convolutions on a CPU run faster in this layout
    channels_last=True,
)

# strong crops, for thousands of photographs rather than for tens of thousands
crop = dict(type='RandomResizedCrop', scale=img_size, crop_ratio_range=(0.4, 1.0))
# remove it where left and right matter, as in text
flip = dict(type='FastRandomFlip', prob=0.5, direction='horizontal')

# The dataset gives complete targets (1, 0, -1), so that no transform needs the number
# of labels.
train_pipeline = [dict(type='LoadImage'), crop, flip, dict(type='FastPackInputs')]
two_view_pipeline = [
    dict(type='LoadImage'),
    dict(type='SharedMultiView', num_views=[2], transforms=[[crop, flip]]),
    dict(type='FastPackInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='Resize', scale=(img_size, img_size), interpolation='bilinear'),
    dict(type='FastPackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    # one worker per core of a small machine
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='labels_train.csv',
        data_prefix=dict(img_path='images'),
        pipeline=train_pipeline,
    ),
)

val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='labels_val.csv',
        data_prefix=dict(img_path='images'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(
    type='MultiLabelRecognitionMetric', thr=0.5, topk=3, classwise=True
)

test_dataloader = val_dataloader
test_evaluator = val_evaluator
