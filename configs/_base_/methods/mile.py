# Added to another method: MILe (arXiv 2111.12173). In step 2 the model learns in turns
# from the given labels and from those that its frozen copy finds. 2,000 iterations per
# turn are published.
method = dict(
    steps=dict(
        step2=dict(
            # a recipe puts the hooks of step 1 before it
            custom_hooks=[
                dict(type='MILeHook', teacher_iters=2000, student_iters=2000, thr=0.5)
            ]
        )
    )
)
