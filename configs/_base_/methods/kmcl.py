# KMCL (github.com/mahdihosseini/KMCL) with isotropic kernels on average pooling. Its
# losses are sums over all entries of a batch: a recipe sets their weights.
method = dict(
    model=dict(
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='KMCLHead',
            loss=dict(
                type='StableAsymmetricLoss',
                gamma_pos=1,
                gamma_neg=4,
                clip=0.05,
                detach_focal=False,
            ),
            loss_reduction='sum',
            loss_reconstruction=dict(type='KernelReconstructionLoss'),
            loss_contrastive=dict(type='KernelContrastiveLoss', temperature=0.17),
        ),
    )
)
