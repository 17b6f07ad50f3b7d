# MILe (arXiv 2111.12173) on average pooling.
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/mile/mile_efflite0_voc07.py
_base_ = ['../baselines/gap_efflite0_voc07.py', '../_base_/methods/mile.py']
_base_.update(_base_.pop('method'))  # merges the method in

# step 2 has 208 iterations: two turns of each kind
steps = dict(
    step2=dict(
        custom_hooks=[
            *_base_.custom_hooks,
            dict(
                _base_.steps.step2.custom_hooks[0], teacher_iters=52, student_iters=52
            ),
        ]
    )
)
