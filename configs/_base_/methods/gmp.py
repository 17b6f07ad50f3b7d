# Maximum pooling and a linear classifier with binary cross-entropy.
method = dict(
    model=dict(neck=dict(type='GlobalMaxPooling'), head=dict(type='ImageLevelClsHead'))
)
