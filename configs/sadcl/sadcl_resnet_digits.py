# SADCL (arXiv 2307.09715) on the network of Query2Label.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/sadcl/sadcl_resnet_digits.py
_base_ = ['../query2label/query2label_resnet_digits.py', '../_base_/methods/sadcl.py']
_base_.update(_base_.pop('method'))  # merges the method in

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                num_slots=64,
                projector=dict(hidden_channels=128, out_channels=64),
            )
        ),
        custom_hooks=[*_base_.custom_hooks, *_base_.steps.step2.custom_hooks],
    )
)
