# Added to another method: the asymmetric loss (arXiv 2009.14119) instead of binary
# cross-entropy.
method = dict(
    model=dict(
        head=dict(
            loss=dict(type='StableAsymmetricLoss', gamma_pos=0, gamma_neg=4, clip=0.05)
        )
    )
)
