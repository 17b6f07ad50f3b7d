"""Neighbours where 10 % of the training labels are known."""

_base_ = ['./_base_/voc07_neighbours.py']

title = 'Neighbours, 10 % of the labels known, frozen backbone, VOC2007'
description = (
    'As neighbours for the family, but each of the 20 labels of a training photograph '
    'is known with a probability of 10 %. Unknown labels neither train nor vote.'
)
methods = {name: dict(hide_labels=dict(keep=0.1)) for name in _base_.methods}
