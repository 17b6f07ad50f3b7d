# MulCon (arXiv 2107.11626), both steps.
# Data: PASCAL VOC2007, trainval -> test, with ResNet-101 at 448 px.
#     python tools/train.py configs/mlcl_r101_voc07.py
_base_ = [
    './_base_/models/mlcl_r101.py',
    './_base_/datasets/voc07_mlcl_448.py',
    './_base_/schedules/two_steps.py',
    './_base_/default_runtime.py',
    './_base_/methods/mulcon.py',
]
_base_.update(_base_.pop('method'))  # merges the method in

model = dict(neck=dict(num_classes=20), head=dict(num_classes=20))

# MulCon's decay of 0.9997 is made for COCO's 38,000 iterations per step. After the
# 2,340 here, half of the average would still be the first weights.
custom_hooks = [
    dict(type='EMAHook', momentum=0.005, update_buffers=True, priority='ABOVE_NORMAL')
]

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
