# Step 1 of MulCon: 25 epochs of AdamW, with binary cross-entropy alone.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
    # the pre-trained backbone learns at a tenth of the rate
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)

# linear warm-up over 5 epochs, then a cosine over the other 20, epoch by epoch
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=5),
    dict(type='CosineAnnealingLR', T_max=20, by_epoch=True, begin=5, end=25),
]

train_cfg = dict(by_epoch=True, max_epochs=25, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# decay 0.9997 of weights and batch norm statistics, from the first iteration
custom_hooks = [
    dict(type='EMAHook', momentum=0.0003, update_buffers=True, priority='ABOVE_NORMAL')
]

# for --auto-scale-lr
auto_scale_lr = dict(base_batch_size=32)
