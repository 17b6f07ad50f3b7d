# MulCon (arXiv 2107.11626) as in mlcl_efflite0_voc07_frozen.py, with memories of
# neighbours of 2 MB instead of 9: the recipe of the weights in the package.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/mlcl/mlcl_efflite0_voc07_small.py
_base_ = ['./mlcl_efflite0_voc07_frozen.py']

model = dict(
    neighbours=[
        dict(type='LabelNeighbours', storage='int8'),
        dict(type='ImageNeighbours', dims=128, storage='int8'),
        _base_.logistic,
    ]
)
