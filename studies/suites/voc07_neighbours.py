"""Neighbours for each kind of method, VOC2007, frozen backbone."""

_base_ = ['./_base_/voc07_neighbours.py']

title = 'Neighbours for the family, frozen backbone, VOC2007'
description = (
    'PASCAL VOC2007 train -> val (2,500 and 1,508 photographs), EfficientNet-Lite0 '
    'with frozen ImageNet weights. Its 7 x 7 feature maps of 4 random views of every '
    'training photograph (224 px) were computed once. Neck and head are trained on '
    'them: 4 epochs of step 1 with one view and 2 epochs of step 2 with '
    'two, with the rates of the family on a frozen backbone. Then the training '
    'photographs, by the test view, fill the memories. Weights of the blends are the '
    "defaults. Image-level neighbours compare averages of the backbone's features, "
    'which are equal for all methods.'
)
_rates = {
    'optim_wrapper.optimizer.lr': 3e-4,
    'steps.step2.optim_wrapper.optimizer.lr': 3e-5,
}
methods = dict(
    query2label=dict(
        label='Query2Label',
        config='configs/query2label/query2label_efflite0_voc07.py',
        options=_rates,
    ),
    sadcl=dict(
        label='SADCL', config='configs/sadcl/sadcl_efflite0_voc07.py', options=_rates
    ),
    cgmvae=dict(label='C-GMVAE', config='configs/cgmvae/cgmvae_efflite0_voc07.py'),
    kmcl=dict(label='KMCL', config='configs/kmcl/kmcl_efflite0_voc07.py'),
)
del _rates
