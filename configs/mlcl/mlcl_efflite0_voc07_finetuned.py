# MulCon (arXiv 2107.11626), step 1 on stored features as in
# mlcl_efflite0_voc07_frozen.py, step 2 on photographs with all weights, then neighbours
# and a logistic regression (docs/training.md).
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/mlcl/mlcl_efflite0_voc07_finetuned.py
_base_ = ['./mlcl_efflite0_voc07_frozen.py']

cached_features = dict(num_views=2)

rates = dict(custom_keys=dict(backbone=dict(lr_mult=0.3)))
cosine = dict(type='CosineAnnealingLR', T_max=1, end=1, convert_to_iter_based=True)
# averages over some ten of the 104 iterations
ema = dict(type='EMAHook', momentum=0.1, update_buffers=True, priority='ABOVE_NORMAL')
# with statistics of batches instead, mAP fell by six points
eval_mode = dict(type='EvalModeHook', parts=['backbone'])
steps = dict(
    step2=dict(
        # trained on photographs
        cached_features=None,
        optim_wrapper=dict(paramwise_cfg=dict(_delete_=True, **rates)),
        param_scheduler=[cosine],
        custom_hooks=[eval_mode, ema, dict(type='FillNeighboursHook')],
        train_cfg=dict(max_epochs=1),
        # an epoch takes minutes
        default_hooks=dict(checkpoint=dict(interval=1)),
    )
)
