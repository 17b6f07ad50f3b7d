# MulCon (arXiv 2107.11626), both steps, on features of a frozen backbone that are
# computed once, neighbours of labels and of images, and a logistic regression
# (docs/training.md).
# Data: PASCAL VOC2007, train -> val, with EfficientNet-Lite0 at 224 px.
#     python tools/train.py configs/mlcl/mlcl_efflite0_voc07_frozen.py
_base_ = ['../mlcl_efflite0_voc07.py']

cached_features = dict(num_views=4)

# the classifier that the backbone was pre-trained with
imagenet = dict(type='EfficientNetLite0Init')
source = dict(type='SourceClasses', in_channels=1280, init_cfg=imagenet)
logistic = dict(type='PooledLogistic', regions=0.7, source=source)

model = dict(
    type='NeighbourClassifier',
    head=dict(dropout=0.5),
    neighbours=[dict(type='LabelNeighbours'), dict(type='ImageNeighbours'), logistic],
    weights=(0.2, 0.35, 0.2, 0.25),
)

# The backbone is frozen.
frozen = dict(custom_keys=dict(backbone=dict(lr_mult=0.0)))
optim_wrapper = dict(paramwise_cfg=frozen)
custom_hooks = [*_base_.custom_hooks, dict(type='FillNeighboursHook')]
# Only the last model is wanted, so that only it is written and validated.
default_hooks = dict(checkpoint=dict(interval=10, save_best=None))
train_cfg = dict(val_interval=10)

steps = dict(
    step1=dict(custom_hooks=_base_.custom_hooks),
    step2=dict(
        optim_wrapper=dict(optimizer=dict(lr=1e-4), paramwise_cfg=frozen),
        model=dict(
            head=dict(loss_contrastive=dict(temperature=1.0, loss_weight=0.5)),
        ),
    ),
)
