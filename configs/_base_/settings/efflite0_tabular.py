# Your own photographs with EfficientNet-Lite0 at 224 px, for two CPU cores: all that
# mlcl_efflite0_tabular.py does not set.
_base_ = [
    '../models/efflite0.py',
    '../datasets/tabular_mlcl_224.py',
    '../schedules/efflite0_two_steps.py',
    '../default_runtime.py',
]

# over the first epoch, however few images there are
_base_.param_scheduler[0].update(by_epoch=True, end=1, convert_to_iter_based=True)

steps = dict(
    step2=dict(
        train_dataloader=dict(dataset=dict(pipeline={{_base_.two_view_pipeline}}))
    )
)
randomness = dict(seed=0)
