# SADCL (arXiv 2307.09715) on the network of Query2Label.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/sadcl/sadcl_efflite0_voc07.py
_base_ = ['../query2label/query2label_efflite0_voc07.py', '../_base_/methods/sadcl.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                num_slots=48,
                projector=dict(hidden_channels=512, out_channels=256),
            )
        ),
        custom_hooks=[*_base_.custom_hooks, *_base_.steps.step2.custom_hooks],
    )
)
