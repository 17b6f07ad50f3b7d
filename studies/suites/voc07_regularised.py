"""How to regularise the classifier, on a split of VOC2007 train, frozen backbone."""

_base_ = ['./_base_/voc07_neighbours.py']

title = 'The classifier, regularised, on a split of VOC2007 train, frozen backbone'
description = (
    'Label attention with binary cross-entropy, both steps, as in '
    '`mlcl_efflite0_voc07_frozen.py` without contrast, but within train: 2,000 '
    'photographs for training, the other 500 for mAP. They choose what the classifier '
    'has that neighbours and contrast are compared with: dropout on embeddings, label '
    'smoothing, and fewer or more epochs of step 1 than 4.'
)
num_tuning = 500
neighbours = False
reference = 'dropout_0.5'
_config = 'configs/mlcl/mlcl_bce_efflite0_voc07.py'
_rate = {'steps.step2.optim_wrapper.optimizer.lr': 1e-4}
methods = dict(_delete_=True)
for _dropout, _smoothing in (
    (0.0, 0.0),
    (0.5, 0.0),
    (0.7, 0.0),
    (0.0, 0.05),
    (0.0, 0.1),
    (0.5, 0.05),
    (0.5, 0.1),
):
    _key = f'dropout_{_dropout}' + (f'_smoothing_{_smoothing}' if _smoothing else '')
    methods[_key] = dict(
        label=f'dropout {_dropout}, smoothing {_smoothing}',
        config=_config,
        options={
            **_rate,
            'model.head.dropout': _dropout,
            'model.head.loss': dict(
                type='BinaryCrossEntropyLoss', label_smoothing=_smoothing
            ),
        },
    )
for _number in (2, 8):
    methods[f'epochs_{_number}'] = dict(
        label=f'dropout 0.5, {_number} epochs of step 1',
        config=_config,
        options={
            **_rate,
            'model.head.dropout': 0.5,
            'steps.step1.train_cfg.max_epochs': _number,
            'steps.step1.train_cfg.val_interval': _number,
            'param_scheduler.1.T_max': _number,
            'param_scheduler.1.end': _number,
        },
    )
del _config, _rate, _dropout, _smoothing, _key, _number
