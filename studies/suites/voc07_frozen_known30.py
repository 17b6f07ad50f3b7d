"""30 % of the training labels are known: VOC2007, frozen backbone."""

_base_ = ['./_base_/voc07_frozen_part.py']

title = '30 % of the labels known, frozen backbone, VOC2007'
description = (
    'As the family on a frozen backbone, but each of the 20 labels of a training '
    'photograph is known with a probability of 30 %. The same labels are known in all '
    'methods and seeds. The losses ignore the others.'
)
methods = {
    name: dict(hide_labels=dict(keep=0.3))
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
