# MulCon (arXiv 2107.11626): label attention, and in step 2 the contrast of the
# embeddings of all labels that are present. Temperature, weight and widths are the
# published ones.
_base_ = ['./label_attention.py']

method = dict(
    steps=dict(
        step2=dict(
            model=dict(
                head=dict(
                    loss_contrastive=dict(
                        type='LabelWiseContrastiveLoss',
                        temperature=0.2,
                        loss_weight=0.5,
                    ),
                    projector=dict(hidden_channels=1024, out_channels=128),
                )
            )
        )
    )
)
