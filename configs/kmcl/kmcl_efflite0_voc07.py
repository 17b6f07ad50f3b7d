# KMCL with isotropic kernels on average pooling, PASCAL VOC2007 train -> val,
# EfficientNet-Lite0.
# The plain sum of its losses is divided by the 640 entries of a batch of step 1: the
# recipes' learning rates are made for a mean over them.
_base_ = ['../_base_/recipes/efflite0_voc07.py']

model = dict(
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='KMCLHead',
        num_classes=20,
        in_channels=1280,
        loss=dict(
            type='StableAsymmetricLoss',
            gamma_pos=1,
            gamma_neg=4,
            clip=0.05,
            detach_focal=False,
            loss_weight=1 / 640,
        ),
        loss_reduction='sum',
        loss_reconstruction=dict(type='KernelReconstructionLoss', loss_weight=1 / 640),
        loss_contrastive=dict(
            type='KernelContrastiveLoss', temperature=0.17, loss_weight=1 / 640
        ),
    ),
)
