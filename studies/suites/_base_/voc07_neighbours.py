"""Neighbours of labels and of images for each kind of method, frozen backbone."""

# The embeddings have tables of their own: voc07_frozen_methods.
seeds = [0, 1, 2]
frozen = dict(config='configs/mlcl/mlcl_bce_efflite0_voc07.py', num_views=4)
neighbours = True
reference = 'label_attention'
options = {
    'steps.step1.train_cfg.val_interval': 4,
    'steps.step2.train_cfg.val_interval': 2,
    'steps.step2.optim_wrapper.optimizer': dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4
    ),
    'steps.step2.optim_wrapper.paramwise_cfg': dict(_delete_=True),
}

contrast = 'steps.step2.model.head.loss_contrastive'
attention = 'configs/mlcl/mlcl_bce_efflite0_voc07.py'
rates = {
    'optim_wrapper.optimizer.lr': 1e-3,
    'steps.step2.optim_wrapper.optimizer.lr': 1e-4,
}
methods = dict(
    attention_step1=dict(
        label='label attention, BCE: step 1',
        config=attention,
        until='step1',
        options=rates,
    ),
    label_attention=dict(
        label='label attention, BCE',
        config=attention,
        start='attention_step1',
        options=rates,
    ),
    mulcon=dict(
        label='MulCon, weight 0.5',
        config='configs/mlcl_efflite0_voc07.py',
        start='attention_step1',
        options={**rates, f'{contrast}.loss_weight': 0.5},
    ),
    image_any=dict(
        label='image level, any',
        config='configs/mlcl/mlcl_image_level_efflite0_voc07.py',
        start='attention_step1',
        options=rates,
    ),
    gap=dict(
        label='average pooling, BCE', config='configs/baselines/gap_efflite0_voc07.py'
    ),
    gap_asl=dict(
        label='average pooling, ASL',
        config='configs/baselines/gap_asl_efflite0_voc07.py',
    ),
    csra=dict(label='CSRA', config='configs/csra/csra_efflite0_voc07.py'),
    ml_decoder=dict(
        label='ML-Decoder',
        config='configs/ml_decoder/ml_decoder_efflite0_voc07.py',
        options=rates,
    ),
)
del contrast, attention, rates
