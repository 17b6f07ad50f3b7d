# MulCon's RandAugment: two operations a call, of these fifteen, each applied with
# probability 0.5. It draws magnitudes 1..9 of 10; MMPretrain draws them evenly
# from 0 to `magnitude_level`. The ranges are those of AutoAugment
# (arXiv 1805.09501, table 6), which the method's operations come from. What begins
# with Fast gives what MMPretrain's operation of that name gives, in less time.
rand_policies = [
    dict(type='Invert', prob=0.5),
    # AutoAugment cuts up to 0.2 of the side: 90 of 448 px
    dict(type='Cutout', magnitude_range=(1, 90), prob=0.5),
    dict(type='Sharpness', magnitude_range=(0, 0.9), prob=0.5),
    dict(type='FastAutoContrast', prob=0.5),
    dict(type='Posterize', magnitude_range=(8, 4), prob=0.5),
    dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal', prob=0.5),
    dict(type='Shear', magnitude_range=(0, 0.3), direction='vertical', prob=0.5),
    # 150 of 331 px in AutoAugment
    dict(type='Translate', magnitude_range=(0, 0.45), direction='horizontal', prob=0.5),
    dict(type='Translate', magnitude_range=(0, 0.45), direction='vertical', prob=0.5),
    dict(type='Rotate', magnitude_range=(0, 30), prob=0.5),
    dict(type='FastEqualize', prob=0.5),
    dict(type='FastContrast', magnitude_range=(0, 0.9), prob=0.5),
    dict(type='ColorTransform', magnitude_range=(0, 0.9), prob=0.5),
    dict(type='FastSolarize', magnitude_range=(256, 0), prob=0.5),
    dict(type='FastBrightness', magnitude_range=(0, 0.9), prob=0.5),
]
rand_augment = dict(
    type='RandAugment',
    policies=rand_policies,
    num_policies=2,
    magnitude_level=9,
    magnitude_std='inf',
    total_level=10,
)
