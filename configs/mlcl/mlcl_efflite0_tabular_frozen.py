# MulCon (arXiv 2107.11626), both steps, on features of a frozen backbone that are
# computed once, and neighbours of labels and of images: what `mlcl fit` trains from.
# Data: your own photographs, with EfficientNet-Lite0 at 224 px. Set what
# mlcl_efflite0_tabular.py has between its two lines, then run
#     python tools/train.py configs/mlcl/mlcl_efflite0_tabular_frozen.py
_base_ = ['./mlcl_efflite0_tabular.py']

cached_features = dict(num_views=2)

# the classifier that the backbone was pre-trained with
imagenet = dict(type='EfficientNetLite0Init')
source = dict(type='SourceClasses', in_channels=1280, init_cfg=imagenet)
windows = dict(regions=0.5, grid=3, whole_share=0.5)
logistic = dict(type='PooledLogistic', num_views=0, **windows, source=source)

model = dict(
    type='NeighbourClassifier',
    head=dict(dropout=0.5),
    neighbours=[dict(type='LabelNeighbours'), dict(type='ImageNeighbours'), logistic],
    # for some hundred photographs
    weights=(0.0, 0.05, 0.05, 0.9),
)

# The backbone is frozen.
frozen = dict(custom_keys=dict(backbone=dict(lr_mult=0.0)))
optim_wrapper = dict(paramwise_cfg=frozen)
custom_hooks = [*_base_.custom_hooks, dict(type='FillNeighboursHook')]
default_hooks = dict(checkpoint=dict(save_best=None))

steps = dict(
    step1=dict(custom_hooks=_base_.custom_hooks),
    step2=dict(
        optim_wrapper=dict(optimizer=dict(lr=1e-4), paramwise_cfg=frozen),
        model=dict(
            head=dict(loss_contrastive=dict(temperature=1.0, loss_weight=0.5)),
        ),
    ),
)
