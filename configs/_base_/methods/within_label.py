# Added to a network with label-wise embeddings: in step 2 a contrast within each label
# (this project), of the images that have it and those that do not. A recipe sets the
# projector.
method = dict(
    steps=dict(
        step2=dict(
            model=dict(
                head=dict(
                    loss_contrastive=dict(
                        type='WithinLabelContrastiveLoss',
                        temperature=0.2,
                        loss_weight=0.1,
                    )
                )
            )
        )
    )
)
