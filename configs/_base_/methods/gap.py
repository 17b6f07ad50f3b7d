# Average pooling and a linear classifier with binary cross-entropy.
method = dict(
    model=dict(
        neck=dict(type='GlobalAveragePooling'), head=dict(type='ImageLevelClsHead')
    )
)
