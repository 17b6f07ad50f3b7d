# Both steps of MulCon within minutes on two CPU cores and without any download: half a
# ResNet-18 from random weights on scenes of handwritten digits. `make demo` runs it.
_base_ = ['./_base_/recipes/resnet_digits.py']

model = dict(
    # No block before the label attention: it would hand what is known of a digit on to
    # the background, where the labels then look for it, and learning sets in later.
    neck=dict(
        type='LabelAttentionNeck',
        num_classes=10,
        in_channels=64,
        embed_dims=128,
        num_heads=4,
        num_blocks_before=0,
        num_blocks_after=1,
        # Even attention is where every width starts; with Xavier these few iterations
        # leave it sooner.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    head=dict(type='LabelWiseClsHead', num_classes=10, in_channels=128),
)

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                loss_contrastive=dict(
                    type='LabelWiseContrastiveLoss', temperature=0.2, loss_weight=0.5
                ),
                projector=dict(hidden_channels=128, out_channels=64),
            )
        )
    )
)
