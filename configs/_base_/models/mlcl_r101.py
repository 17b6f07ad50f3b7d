# MulCon's network on ResNet-101, as in the released weights, for the 80 labels of COCO.
_base_ = ['./r101.py', '../methods/label_attention.py']
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(
    neck=dict(num_classes=80, in_channels=2048),
    head=dict(num_classes=80, loss=dict(type='BinaryCrossEntropyLoss')),
)
