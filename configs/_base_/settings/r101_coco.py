# MS-COCO 2014 with ResNet-101 at 448 px, trained by MulCon's schedule. A method adds
# neck and head.
_base_ = [
    '../models/r101.py',
    '../datasets/coco_mlcl_448.py',
    '../schedules/two_steps.py',
    '../default_runtime.py',
]

model = dict(head=dict(num_classes=80))
steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
