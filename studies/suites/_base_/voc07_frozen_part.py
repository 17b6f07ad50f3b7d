"""Methods to compare on a part of the labels or of the images."""

_base_ = ['./voc07_frozen.py']

reference = 'label_attention'
seeds = [0, 1, 2]

contrast = 'steps.step2.model.head.loss_contrastive'
attention = 'configs/mlcl/mlcl_bce_efflite0_voc07.py'
mulcon = 'configs/mlcl_efflite0_voc07.py'
gap = 'configs/baselines/gap_efflite0_voc07.py'
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
        config=mulcon,
        start='attention_step1',
        options={**rates, f'{contrast}.loss_weight': 0.5},
    ),
    mulcon_weak=dict(
        label='MulCon, weight 0.1',
        config=mulcon,
        start='attention_step1',
        options={**rates, f'{contrast}.loss_weight': 0.1},
    ),
    within_label=dict(
        label='within-label contrast, weight 0.1',
        config='configs/mlcl/mlcl_within_label_efflite0_voc07.py',
        start='attention_step1',
        options=rates,
    ),
    image_any=dict(
        label='image level, any',
        config='configs/mlcl/mlcl_image_level_efflite0_voc07.py',
        start='attention_step1',
        options=rates,
    ),
    gap_step1=dict(label='average pooling, BCE: step 1', config=gap, until='step1'),
    gap=dict(label='average pooling, BCE', config=gap, start='gap_step1'),
    mile=dict(
        label='MILe',
        config='configs/mile/mile_efflite0_voc07.py',
        start='gap_step1',
    ),
    gap_asl=dict(
        label='average pooling, ASL',
        config='configs/baselines/gap_asl_efflite0_voc07.py',
    ),
    csra=dict(label='CSRA', config='configs/csra/csra_efflite0_voc07.py'),
)
del contrast, attention, mulcon, gap, rates
# After pooling, the embedding is the frozen feature itself, equal for all heads.
for name in ('gap_step1', 'gap', 'mile', 'gap_asl', 'csra'):
    methods[name]['embeddings'] = False
del name
