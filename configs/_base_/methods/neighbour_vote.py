# Added to a network with label-wise embeddings: in step 2 the embeddings are trained
# for the votes of neighbours (this project), with the kernel of the memory that scores
# images afterwards. Change both temperatures together.
method = dict(
    model=dict(
        type='NeighbourClassifier',
        neighbours=[dict(type='LabelNeighbours', temperature=0.05)],
    ),
    steps=dict(
        step2=dict(
            model=dict(
                head=dict(
                    loss_contrastive=dict(
                        type='NeighbourVoteLoss', temperature=0.05, loss_weight=0.5
                    ),
                    # the embeddings themselves, which neighbours compare
                    projector=None,
                )
            )
        )
    ),
)
