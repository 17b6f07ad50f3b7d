# MS-COCO 2014 with ResNet-101 at 448 px: all but neck and head, which make the method.
_base_ = [
    '../datasets/coco_mlcl_448.py',
    '../schedules/mulcon_step1.py',
    '../schedules/two_steps.py',
    '../default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=101,
        num_stages=4,
        out_indices=(3,),
        style='pytorch',
        # ImageNet weights; None starts from random ones
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
)

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
