# 10 % of the labels of every training image are known, frozen EfficientNet-Lite0.
_base_ = ['./_base_/voc07_frozen_part.py']

title = '10 % of the labels known, frozen backbone, VOC2007'
description = (
    'As the family on a frozen backbone, but of the 20 labels of every training '
    'photograph each is known with a probability of 10 %, the same in all methods and '
    'seeds; the losses pass over the others.'
)
methods = {
    name: dict(hide_labels=dict(keep=0.1))
    for name in (
        'attention_step1',
        'label_attention',
        'mulcon',
        'mulcon_weak',
        'within_label',
        'image_any',
        'gap_step1',
        'gap',
        'mile',
        'gap_asl',
        'csra',
    )
}
