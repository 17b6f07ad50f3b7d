# MulCon (arXiv 2107.11626), both steps.
# Data: NUS-WIDE with 81 concepts, with ResNet-101 at 448 px.
#     python tools/train.py configs/mlcl/mlcl_r101_nuswide.py
_base_ = [
    '../_base_/models/mlcl_r101.py',
    '../_base_/datasets/nuswide_mlcl_448.py',
    '../_base_/schedules/two_steps.py',
    '../_base_/default_runtime.py',
    '../_base_/methods/mulcon.py',
]
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(neck=dict(num_classes=81), head=dict(num_classes=81))
steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
