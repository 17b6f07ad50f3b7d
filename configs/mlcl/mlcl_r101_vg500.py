# MulCon on VG500, ResNet-101, 448 px: both steps.
_base_ = [
    '../_base_/models/mlcl_r101.py',
    '../_base_/datasets/vg500_mlcl_448.py',
    '../_base_/schedules/mulcon_step1.py',
    '../_base_/schedules/mulcon_step2.py',
    '../_base_/default_runtime.py',
]

model = dict(neck=dict(num_classes=500), head=dict(num_classes=500))

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
