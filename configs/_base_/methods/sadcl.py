# Added to Query2Label: SADCL (arXiv 2307.09715). Its decoder has no self-attention of
# labels. In step 2 its head contrasts samples with samples and with prototypes;
# prototypes and memory start from what step 1 has learned. A recipe sets the projector
# and num_slots, the number of views in a batch.
method = dict(
    model=dict(neck=dict(self_attention=False)),
    steps=dict(
        step2=dict(
            model=dict(
                head=dict(
                    type='SADCLHead',
                    loss_contrastive=dict(
                        type='LabelWiseContrastiveLoss',
                        temperature=0.2,
                        loss_weight=0.1,
                        across_processes=False,
                    ),
                    loss_prototype=dict(
                        type='PrototypeContrastiveLoss',
                        temperature=0.07,
                        loss_weight=0.05,
                    ),
                )
            ),
            # a recipe puts the hooks of step 1 before it
            custom_hooks=[dict(type='PrototypeInitHook', thr=0.85)],
        )
    ),
)
