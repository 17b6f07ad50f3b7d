"""Neighbours where 5 % of the training labels are wrong."""

_base_ = ['./_base_/voc07_neighbours.py']

title = 'Neighbours, 5 % wrong labels, frozen backbone, VOC2007'
description = (
    'As neighbours for the family, but 5 % of all known labels of the training '
    'photographs are wrong: present ones absent, absent ones present, the same in all '
    'methods and seeds. Labels of the validation photographs are right.'
)
wrong_labels = dict(kind='symmetric', rate=0.05, seed=0)
