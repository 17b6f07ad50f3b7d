"""Contrast of whole images on pooled features, by every rule, scenes of digits."""

title = 'Contrast of images on average pooling, digit scenes, all weights trained'
description = (
    'As contrast of labels and of images on the digit scenes, but with average pooling '
    'instead of label attention: contrast acts on the pooled features, so that it '
    'trains the backbone directly. All runs of step 2 start from step 1 of their seed.'
)
seeds = [0, 1, 2]
reference = 'pooled'
# Validate once, at the end of each step.
options = {
    'steps.step1.train_cfg.val_interval': 16,
    'steps.step2.train_cfg.val_interval': 4,
}
config = 'configs/image_level/image_level_any_resnet_digits.py'
contrast = 'steps.step2.model.head.loss_contrastive'
methods = dict(
    pooled_step1=dict(
        label='average pooling, BCE: step 1', config=config, until='step1'
    ),
    pooled=dict(
        label='average pooling, BCE',
        config=config,
        start='pooled_step1',
        options={contrast: None},
    ),
)
for rule, label in (
    ('any', 'any'),
    ('all', 'all'),
    ('jaccard', 'Jaccard'),
    ('threshold', 'threshold of 2'),
    ('mulsupcon', 'MulSupCon'),
    ('similarity_dissimilarity', 'similarity-dissimilarity'),
):
    changes = {f'{contrast}.rule': rule}
    if rule == 'threshold':
        changes[f'{contrast}.threshold'] = 2
    methods[f'pooled_image_{rule}'] = dict(
        label=f'image level, {label}, weight 0.1',
        config=config,
        start='pooled_step1',
        options=changes,
    )
del config, contrast, rule, label, changes
