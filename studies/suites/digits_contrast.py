"""Contrast of label embeddings and of whole images, on scenes of digits."""

title = 'Contrast of labels and of images, digit scenes, all weights trained'
description = (
    'Scenes of handwritten digits (5,000 for training, 1,000 for validation; 64 px, '
    'ten labels), half a ResNet-18 from random weights, the recipes '
    '`*_resnet_digits.py` at their full size: 16 epochs of step 1 and, from its '
    'weights, 4 epochs of step 2 with two views. All runs of step 2 start from step 1 '
    'of their seed. Contrast of images acts on the mean label embedding.'
)
seeds = [0, 1, 2, 3, 4]
reference = 'no_contrast'
# Validate once, at the end of each step.
options = {
    'steps.step1.train_cfg.val_interval': 16,
    'steps.step2.train_cfg.val_interval': 4,
}
# How label embeddings are measured: mlcl_plugin/evaluation/embedding_quality.py
embeddings = dict(shots=[1, 5], repeats=5, seed=0)
config = 'configs/mlcl_resnet_digits.py'
contrast = 'steps.step2.model.head.loss_contrastive'
methods = dict(
    step1=dict(label='label attention, BCE: step 1', config=config, until='step1'),
    no_contrast=dict(
        label='label attention, BCE',
        config=config,
        start='step1',
        options={contrast: None},
    ),
    mulcon=dict(label='MulCon, weight 0.5', config=config, start='step1'),
    within_label=dict(
        label='within-label contrast, weight 0.1',
        config='configs/mlcl/mlcl_within_label_resnet_digits.py',
        start='step1',
    ),
    image_any=dict(
        label='image level, any, weight 0.1',
        config='configs/mlcl/mlcl_image_level_resnet_digits.py',
        start='step1',
    ),
)
del config, contrast
