# MulCon's RandAugment: two of these fifteen operations per call, each applied with
# probability 0.5. The operations and their full strengths are those of AutoAugment
# (arXiv 1805.09501, table 6). MulCon draws one of the levels 1 to 9 of 10. MMPretrain's
# RandAugment has no levels: here the strength is drawn evenly between level 1 and level
# 9, the two ends of each range. FastX gives the result of MMPretrain's X in less time.
rand_policies = [
    dict(type='Invert', prob=0.5),
    # full strength: 0.2 of the side, 90 of 448 px
    dict(type='Cutout', magnitude_range=(9, 81), prob=0.5),
    # full strength: 0.9
    dict(type='Sharpness', magnitude_range=(0.09, 0.81), prob=0.5),
    dict(type='FastAutoContrast', prob=0.5),
    # from 8 to 4 bits, rounded up
    dict(type='Posterize', magnitude_range=(7.6, 4.4), prob=0.5),
    # full strength: 0.3
    dict(type='Shear', magnitude_range=(0.03, 0.27), direction='horizontal', prob=0.5),
    dict(type='Shear', magnitude_range=(0.03, 0.27), direction='vertical', prob=0.5),
    # full strength: 150 of 331 px, 0.45 of the side
    dict(
        type='Translate',
        magnitude_range=(0.045, 0.405),
        direction='horizontal',
        prob=0.5,
    ),
    dict(
        type='Translate', magnitude_range=(0.045, 0.405), direction='vertical', prob=0.5
    ),
    # full strength: 30 degrees
    dict(type='Rotate', magnitude_range=(3, 27), prob=0.5),
    dict(type='FastEqualize', prob=0.5),
    # full strength: 0.9
    dict(type='FastContrast', magnitude_range=(0.09, 0.81), prob=0.5),
    dict(type='ColorTransform', magnitude_range=(0.09, 0.81), prob=0.5),
    # from 256 to 0
    dict(type='FastSolarize', magnitude_range=(230.4, 25.6), prob=0.5),
    # full strength: 0.9
    dict(type='FastBrightness', magnitude_range=(0.09, 0.81), prob=0.5),
]
rand_augment = dict(
    type='RandAugment',
    policies=rand_policies,
    num_policies=2,
    # evenly between the two ends of each range
    magnitude_level=10,
    magnitude_std='inf',
    total_level=10,
)

# Only the cut-out is given in pixels: its full strength is 115 of 576 px.
rand_augment_576 = dict(
    rand_augment,
    policies=[
        dict(policy, magnitude_range=(12, 104))
        if policy['type'] == 'Cutout'
        else policy
        for policy in rand_policies
    ],
)
