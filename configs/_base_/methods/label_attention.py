# Label attention, the network of MulCon (arXiv 2107.11626), with binary cross-entropy
# alone. The widths and numbers of blocks are the published ones.
method = dict(
    model=dict(
        neck=dict(
            type='LabelAttentionNeck',
            embed_dims=1024,
            num_heads=4,
            num_blocks_before=2,
            num_blocks_after=1,
        ),
        head=dict(type='LabelWiseClsHead', in_channels=1024),
    )
)
