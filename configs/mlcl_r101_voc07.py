# MulCon on PASCAL VOC2007, ResNet-101, 448 px: trainval -> test, both steps.
_base_ = [
    './_base_/models/mlcl_r101.py',
    './_base_/datasets/voc07_mlcl_448.py',
    './_base_/schedules/mulcon_step1.py',
    './_base_/schedules/mulcon_step2.py',
    './_base_/default_runtime.py',
]

model = dict(neck=dict(num_classes=20), head=dict(num_classes=20))

# The recipe's decay of 0.9997 is made for COCO's 38,000 iterations a step. Of the 2,340
# here, it would leave half of the first weights in the average; 0.995 leaves nothing.
custom_hooks = [
    dict(type='EMAHook', momentum=0.005, update_buffers=True, priority='ABOVE_NORMAL')
]

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
