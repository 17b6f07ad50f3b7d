# Added to another method: in step 2 SupCon (arXiv 2004.11362) on whole images, of which
# two are positives if they share a label. Other rules of what positives are:
#     --cfg-options steps.step2.model.head.loss_contrastive.rule=jaccard
# A recipe sets the projector.
method = dict(
    steps=dict(
        step2=dict(
            model=dict(
                head=dict(
                    loss_contrastive=dict(
                        type='ImageLevelContrastiveLoss',
                        rule='any',
                        temperature=0.1,
                        loss_weight=0.1,
                    )
                )
            )
        )
    )
)
