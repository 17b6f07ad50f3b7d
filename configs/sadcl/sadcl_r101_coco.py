# SADCL (arXiv 2307.09715) on the network of Query2Label.
# Data: MS-COCO 2014, with ResNet-101 at 448 px.
#     python tools/train.py configs/sadcl/sadcl_r101_coco.py
_base_ = ['../query2label/query2label_r101_coco.py', '../_base_/methods/sadcl.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                num_slots=48,
                projector=dict(hidden_channels=2048, out_channels=1024),
            )
        ),
        custom_hooks=[*_base_.custom_hooks, *_base_.steps.step2.custom_hooks],
    )
)
