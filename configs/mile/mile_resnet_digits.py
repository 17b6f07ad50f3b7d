# MILe (arXiv 2111.12173) on average pooling.
# Data: scenes of handwritten digits, with half a ResNet-18.
#     python tools/train.py configs/mile/mile_resnet_digits.py
_base_ = ['../baselines/gap_resnet_digits.py', '../_base_/methods/mile.py']
_base_.update(_base_.pop('method'))  # merges the method in

# step 2 has 624 iterations: four turns of each kind
steps = dict(
    step2=dict(
        custom_hooks=[
            *_base_.custom_hooks,
            dict(
                _base_.steps.step2.custom_hooks[0], teacher_iters=78, student_iters=78
            ),
        ]
    )
)
