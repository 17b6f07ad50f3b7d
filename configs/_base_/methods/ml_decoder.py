# ML-Decoder (arXiv 2111.12933) with one query per label. A recipe sets the widths.
method = dict(
    model=dict(neck=dict(type='MLDecoderNeck'), head=dict(type='LabelWiseClsHead'))
)
