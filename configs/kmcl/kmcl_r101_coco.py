# KMCL with isotropic kernels on average pooling, MS-COCO 2014, ResNet-101, 448 px.
# The plain sum of its losses is divided by the 2560 entries of a batch of step 1: the
# recipes' learning rates are made for a mean over them.
_base_ = ['../_base_/recipes/r101_coco.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='KMCLHead',
        num_classes=80,
        in_channels=2048,
        loss=dict(
            type='StableAsymmetricLoss',
            gamma_pos=1,
            gamma_neg=4,
            clip=0.05,
            detach_focal=False,
            loss_weight=1 / 2560,
        ),
        loss_reduction='sum',
        loss_reconstruction=dict(type='KernelReconstructionLoss', loss_weight=1 / 2560),
        loss_contrastive=dict(
            type='KernelContrastiveLoss', temperature=0.17, loss_weight=1 / 2560
        ),
    ),
)
