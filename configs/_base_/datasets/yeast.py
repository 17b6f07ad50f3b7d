# Yeast (Elisseeff and Weston 2001): 103 features, 14 labels; data/yeast/yeast.npz with
# the arrays {train,val,test}_{features,labels}.
data_root = 'data/yeast/'
dataset_type = 'FeatureVectors'

# moves batches to the device; the dataset has standardised the vectors
data_preprocessor = dict(type='ClsDataPreprocessor')

pipeline = [dict(type='PackInputs', input_key='features')]

train_dataloader = dict(
    batch_size=128,
    # there is nothing to decode
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='yeast.npz',
        split='train',
        standardize_by='train',
        pipeline=pipeline,
    ),
)

val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='yeast.npz',
        split='val',
        standardize_by='train',
        test_mode=True,
        pipeline=pipeline,
    ),
)
val_evaluator = dict(type='MultiLabelRecognitionMetric', thr=0.5)

test_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='yeast.npz',
        split='test',
        standardize_by='train',
        test_mode=True,
        pipeline=pipeline,
    ),
)
test_evaluator = val_evaluator
