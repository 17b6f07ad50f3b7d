# PASCAL VOC2007 train -> val with EfficientNet-Lite0 at 224 px, for two CPU cores.
# A method adds neck and head.
_base_ = [
    '../models/efflite0.py',
    '../datasets/voc07_mlcl_224.py',
    '../schedules/efflite0_two_steps.py',
    '../default_runtime.py',
]

model = dict(head=dict(num_classes=20))
steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
randomness = dict(seed=0)
