# Both steps of MulCon; the other methods are trained by the same steps. `steps` maps
# the name of each step to its changes. What step 2 adds to the loss belongs to methods.
_base_ = ['./mulcon_step1.py']

runner_type = 'mmpretrain.StepwiseRunner'

steps = dict(
    # Step 2 starts from the EMA weights of step 1's epoch 15, so that the other ten
    # epochs of step 1 are not needed.
    step1=dict(train_cfg=dict(max_epochs=15)),
    step2=dict(
        data_preprocessor=dict(num_views=2),
        # 24 images are 48 views
        train_dataloader=dict(batch_size=24),
        optim_wrapper=dict(
            optimizer=dict(
                _delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4
            ),
            # projector and classifiers learn at the full rate
            paramwise_cfg=dict(
                custom_keys={'backbone': dict(lr_mult=0.1), 'neck.': dict(lr_mult=0.1)}
            ),
        ),
        param_scheduler=[dict(type='StepLR', step_size=20, gamma=0.1, by_epoch=True)],
        # the published results are those of epoch 15
        train_cfg=dict(max_epochs=15),
        auto_scale_lr=dict(base_batch_size=24),
    ),
)
