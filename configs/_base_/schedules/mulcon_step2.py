# Step 2 of MulCon, as changes to step 1: the contrastive loss joins, on two views.
_base_ = ['./two_steps.py']

steps = dict(
    step2=dict(
        model=dict(
            head=dict(
                loss_contrastive=dict(
                    type='LabelWiseContrastiveLoss', temperature=0.2, loss_weight=0.5
                ),
                projector=dict(hidden_channels=1024, out_channels=128),
            )
        )
    )
)
