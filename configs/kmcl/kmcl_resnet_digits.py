# KMCL with isotropic kernels on average pooling, scenes of digits.
# The plain sum of its losses is divided by the 320 entries of a batch of step 1: the
# recipes' learning rates are made for a mean over them.
_base_ = ['../_base_/recipes/resnet_digits.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='KMCLHead',
        num_classes=10,
        in_channels=64,
        loss=dict(
            type='StableAsymmetricLoss',
            gamma_pos=1,
            gamma_neg=4,
            clip=0.05,
            detach_focal=False,
            loss_weight=1 / 320,
        ),
        loss_reduction='sum',
        loss_reconstruction=dict(type='KernelReconstructionLoss', loss_weight=1 / 320),
        loss_contrastive=dict(
            type='KernelContrastiveLoss', temperature=0.17, loss_weight=1 / 320
        ),
    ),
)
