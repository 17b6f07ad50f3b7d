# MILe on average pooling, scenes of digits: in the second step, the model learns in
# turns
# from the given labels and from those that its frozen copy finds.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ImageLevelClsHead', num_classes=10, in_channels=64),
)

steps = dict(
    step2=dict(
        custom_hooks=[
            dict(
                type='EMAHook',
                momentum=0.01,
                update_buffers=True,
                priority='ABOVE_NORMAL',
            ),
            dict(type='MILeHook', teacher_iters=78, student_iters=78, thr=0.5),
        ]
    )
)
