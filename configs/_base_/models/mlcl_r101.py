# MulCon on ResNet-101: the network of the released weights.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=101,
        num_stages=4,
        out_indices=(3,),
        style='pytorch',
        # ImageNet weights; None starts from random ones
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=80,
        in_channels=2048,
        embed_dims=1024,
        num_heads=4,
        num_blocks_before=2,
        num_blocks_after=1,
    ),
    head=dict(
        type='LabelWiseClsHead',
        num_classes=80,
        in_channels=1024,
        loss=dict(type='BinaryCrossEntropyLoss'),
    ),
)
