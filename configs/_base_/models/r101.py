# ResNet-101 with ImageNet weights.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=101,
        num_stages=4,
        out_indices=(3,),
        style='pytorch',
        # None starts from random weights
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    # the channels of the last feature map
    head=dict(in_channels=2048),
)
