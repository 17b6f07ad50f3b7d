# MILe on average pooling, PASCAL VOC2007 train -> val, EfficientNet-Lite0: in the
# second step, the model learns in turns
# from the given labels and from those that its frozen copy finds.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ImageLevelClsHead', num_classes=20, in_channels=1280),
)

steps = dict(
    step2=dict(
        custom_hooks=[
            dict(
                type='EMAHook',
                momentum=0.02,
                update_buffers=True,
                priority='ABOVE_NORMAL',
            ),
            dict(type='MILeHook', teacher_iters=52, student_iters=52, thr=0.5),
        ]
    )
)
