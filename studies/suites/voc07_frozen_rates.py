"""Learning rates on a split of train: VOC2007, frozen backbone."""

_base_ = ['./_base_/voc07_frozen.py']

title = 'Learning rates, on a split of VOC2007 train, frozen backbone'
description = (
    'As the family on a frozen backbone, but within train: 2,000 photographs for '
    'training, the other 500 for mAP. First the rates of step 1, then those of step 2: '
    'after step 1 at 0.004 and, for label attention, at 0.001. There, contrast in step '
    '2 is tried, too, at 1e-4. Differences of half a point may be chance. SADCL takes '
    'the rate of Query2Label, since the two share a decoder.'
)
seeds = [0]
num_tuning = 500
reference = 'label_attention_0.004'
embeddings = None

recipes = {
    'gap': ('average pooling, BCE', 'baselines/gap', (1e-3, 4e-3, 1.6e-2)),
    'gap_asl': ('average pooling, ASL', 'baselines/gap_asl', (2.5e-4, 1e-3, 4e-3)),
    'gmp': ('maximum pooling, BCE', 'baselines/gmp', (2.5e-4, 1e-3, 4e-3)),
    'csra': ('CSRA', 'csra/csra', (1e-3, 4e-3, 1.6e-2)),
    'kmcl': ('KMCL', 'kmcl/kmcl', (2.5e-4, 1e-3, 4e-3)),
    'cgmvae': ('C-GMVAE', 'cgmvae/cgmvae', (2.5e-4, 1e-3, 4e-3)),
    'label_attention': ('label attention', 'mlcl/mlcl_bce', (1e-3, 2e-3, 4e-3, 8e-3)),
    'ml_decoder': ('ML-Decoder', 'ml_decoder/ml_decoder', (2.5e-4, 1e-3, 4e-3)),
    'query2label': ('Query2Label', 'query2label/query2label', (1e-4, 3e-4)),
}
methods = {}
for key, (label, path, rates) in recipes.items():
    for rate in rates:
        methods[f'{key}_{rate:g}'] = dict(
            label=f'{label}, {rate:g}',
            config=f'configs/{path}_efflite0_voc07.py',
            until='step1',
            options={'optim_wrapper.optimizer.lr': rate},
        )
for key in ('label_attention', 'gap'):
    for rate in (1e-4, 3e-4, 1e-3):
        methods[f'{key}_step2_{rate:g}'] = dict(
            label=f'{recipes[key][0]}, 0.004, step 2, {rate:g}',
            config=f'configs/{recipes[key][1]}_efflite0_voc07.py',
            start=f'{key}_0.004',
            options={'steps.step2.optim_wrapper.optimizer.lr': rate},
        )
for rate in (1e-5, 3e-5, 1e-4):
    methods[f'label_attention_0.001_step2_{rate:g}'] = dict(
        label=f'label attention, 0.001, step 2, {rate:g}',
        config='configs/mlcl/mlcl_bce_efflite0_voc07.py',
        start='label_attention_0.001',
        reference='label_attention_0.001',
        options={'steps.step2.optim_wrapper.optimizer.lr': rate},
    )
contrast = 'steps.step2.model.head.loss_contrastive'
for key, label, path, found in (
    ('mulcon', 'MulCon', 'mlcl', ((0.5, 0.2), (0.5, 1.0))),
    (
        'within_label',
        'within-label contrast',
        'mlcl/mlcl_within_label',
        ((0.1, 0.2), (0.5, 0.2), (0.5, 0.5), (2.0, 0.5)),
    ),
    (
        'image_any',
        'image level, any',
        'mlcl/mlcl_image_level',
        ((0.1, 0.1), (0.5, 0.1)),
    ),
):
    for weight, temperature in found:
        methods[f'{key}_{weight}_{temperature}'] = dict(
            label=f'{label}, weight {weight}, temperature {temperature}',
            config=f'configs/{path}_efflite0_voc07.py',
            start='label_attention_0.001',
            reference='label_attention_0.001_step2_0.0001',
            options={
                'steps.step2.optim_wrapper.optimizer.lr': 1e-4,
                f'{contrast}.loss_weight': weight,
                f'{contrast}.temperature': temperature,
            },
        )
del contrast, found, weight, temperature
del recipes, key, label, path, rates, rate
