# Scenes of real handwritten digits for the demo, 64 px, ten labels, as COCO files, made
# by tools/dataset_converters/make_digit_scenes.py.
data_root = 'data/digit_scenes/'
dataset_type = 'CocoMultiLabel'

data_preprocessor = dict(
    type='MultiViewDataPreprocessor',
    # Backgrounds and digits are drawn around mid grey; their standard deviation is a
    # quarter of the range.
    mean=[127.5, 127.5, 127.5],
    std=[64.0, 64.0, 64.0],
    to_rgb=True,
    # convolutions on a CPU run faster in this layout
    channels_last=True,
)

# RandAugment as in MulCon, two operations per call, without those that change labels:
# no flip (a mirrored 2 is no 2), no cut-out and no crop (a digit could go missing).
# Magnitudes reach 15 degrees, a shear of 0.2 and 5 of 64 px.
rand_augment = dict(
    type='RandAugment',
    policies=[
        dict(type='Rotate', magnitude_range=(0, 15), prob=0.5),
        dict(type='Shear', magnitude_range=(0, 0.2), direction='horizontal', prob=0.5),
        dict(type='Shear', magnitude_range=(0, 0.2), direction='vertical', prob=0.5),
        dict(
            type='Translate',
            magnitude_range=(0, 0.08),
            direction='horizontal',
            prob=0.5,
        ),
        dict(
            type='Translate', magnitude_range=(0, 0.08), direction='vertical', prob=0.5
        ),
        dict(type='Invert', prob=0.5),
        dict(type='ColorTransform', magnitude_range=(0, 0.9), prob=0.5),
        dict(type='FastContrast', magnitude_range=(0, 0.5), prob=0.5),
        dict(type='FastBrightness', magnitude_range=(0, 0.5), prob=0.5),
    ],
    num_policies=2,
    # the strength is drawn evenly between the two ends of each range
    magnitude_level=10,
    magnitude_std='inf',
    total_level=10,
)

# step 1: one view
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=10),
    rand_augment,
    dict(type='FastPackInputs'),
]

# step 2: two independent draws
two_view_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=10),
    dict(type='SharedMultiView', num_views=[2], transforms=[[rand_augment]]),
    dict(type='FastPackInputs'),
]

test_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=10),
    dict(type='FastPackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    # one worker per core of a small machine
    num_workers=2,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img_path='train'),
        pipeline=train_pipeline,
    ),
)

val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img_path='val'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(
    type='MultiLabelRecognitionMetric', thr=0.5, topk=3, classwise=True
)

test_dataloader = val_dataloader
test_evaluator = val_evaluator
