# MulCon on MS-COCO 2014, ResNet-101, 576 px: both steps.
_base_ = [
    './_base_/models/mlcl_r101.py',
    './_base_/datasets/coco_mlcl_576.py',
    './_base_/schedules/mulcon_step1.py',
    './_base_/schedules/mulcon_step2.py',
    './_base_/default_runtime.py',
]

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
