# MulCon on NUS-WIDE with 81 concepts, ResNet-101, 448 px: both steps.
_base_ = [
    '../_base_/models/mlcl_r101.py',
    '../_base_/datasets/nuswide_mlcl_448.py',
    '../_base_/schedules/mulcon_step1.py',
    '../_base_/schedules/mulcon_step2.py',
    '../_base_/default_runtime.py',
]

model = dict(neck=dict(num_classes=81), head=dict(num_classes=81))

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
