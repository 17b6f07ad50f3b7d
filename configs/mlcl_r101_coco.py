# MulCon on MS-COCO 2014, ResNet-101, 448 px: step 1, then step 2 from its weights.
_base_ = ['./mlcl_r101_coco_step1.py', './_base_/schedules/mulcon_step2.py']

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
