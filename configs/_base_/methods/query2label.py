# Query2Label (arXiv 2107.10834): an encoder layer, and decoder layers whose queries are
# labels. It is published with ASL; here methods share binary cross-entropy, unless the
# loss is their subject. A recipe sets the widths.
method = dict(
    model=dict(
        neck=dict(type='LabelQueryDecoder', num_heads=4),
        head=dict(type='LabelWiseClsHead'),
    )
)
