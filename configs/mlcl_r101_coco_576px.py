# MulCon (arXiv 2107.11626), both steps.
# Data: MS-COCO 2014, with ResNet-101 at 576 px.
#     python tools/train.py configs/mlcl_r101_coco_576px.py
_base_ = [
    './_base_/models/mlcl_r101.py',
    './_base_/datasets/coco_mlcl_576.py',
    './_base_/schedules/two_steps.py',
    './_base_/default_runtime.py',
    './_base_/methods/mulcon.py',
]
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
