# MILe on average pooling, MS-COCO 2014, ResNet-101, 448 px: in the second step, the
# model learns in turns
# from the given labels and from those that its frozen copy finds.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='ImageLevelClsHead', num_classes=80, in_channels=2048),
)

steps = dict(
    step2=dict(
        custom_hooks=[
            dict(
                type='EMAHook',
                momentum=0.0003,
                update_buffers=True,
                priority='ABOVE_NORMAL',
            ),
            dict(type='MILeHook', teacher_iters=2000, student_iters=2000, thr=0.5),
        ]
    )
)
