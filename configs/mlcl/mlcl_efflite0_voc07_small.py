# MulCon (arXiv 2107.11626) as in mlcl_efflite0_voc07_frozen.py, tested on larger
# images, with small memories of neighbours and a regression that also sees windows: the
# recipe of the weights in the package.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 320 px.
#     python tools/train.py configs/mlcl/mlcl_efflite0_voc07_small.py
_base_ = ['./mlcl_efflite0_voc07_frozen.py']

test_size = 320
cached_features = dict(num_views=2)

# Things are larger in random crops, so that crops of 224 px show them at the scale of
# whole images of 320 px.
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='LabelsToTargets', num_classes=20),
    dict(type='Resize', scale=(test_size, test_size), interpolation='bilinear'),
    dict(type='FastPackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

windows = dict(regions=0.5, grid=3, whole_share=0.5)
logistic = dict(type='PooledLogistic', num_views=0, **windows, source={{_base_.source}})
model = dict(
    neighbours=[
        dict(type='LabelNeighbours', storage='int8'),
        dict(type='ImageNeighbours', dims=128, storage='int8'),
        logistic,
    ]
)
