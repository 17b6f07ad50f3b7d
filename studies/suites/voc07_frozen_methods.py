"""All methods on a frozen backbone, VOC2007; many seeds are cheap there."""

_base_ = ['./_base_/voc07_frozen.py']

title = 'The family on a frozen backbone, VOC2007'
description = (
    'PASCAL VOC2007 train -> val (2,500 and 1,508 photographs), EfficientNet-Lite0 '
    'with frozen ImageNet weights. Its 7 x 7 feature maps of 8 random views of every '
    'training photograph (224 px) were computed once. Neck and head are trained on '
    'them in bfloat16 by the VOC2007 recipes: 8 epochs of step 1 with one view and 4 '
    'epochs of step 2 with two, both with AdamW. On a split of train, no rate of step '
    '1 is more than half a point behind the best of those tried (ASL, CSRA, KMCL and '
    'C-GMVAE have the 0.004 of average pooling, 0.1 to 0.5 behind). Rates of step 2 '
    'were tried for label attention and for average pooling; the other methods on '
    'pooled features have the rate of the latter. Methods that differ in step 2 only '
    'start from the same step 1 of their seed. Image-level contrast acts on the mean '
    'label embedding: after average pooling of frozen features it could train only its '
    'projector.'
)
reference = 'label_attention'

attention = 'configs/mlcl/mlcl_bce_efflite0_voc07.py'
mulcon = 'configs/mlcl_efflite0_voc07.py'
within = 'configs/mlcl/mlcl_within_label_efflite0_voc07.py'
gap = 'configs/baselines/gap_efflite0_voc07.py'
image = 'configs/mlcl/mlcl_image_level_efflite0_voc07.py'
contrast = 'steps.step2.model.head.loss_contrastive'
rates = {
    'optim_wrapper.optimizer.lr': 1e-3,
    'steps.step2.optim_wrapper.optimizer.lr': 1e-4,
}
decoder_rates = {
    'optim_wrapper.optimizer.lr': 3e-4,
    'steps.step2.optim_wrapper.optimizer.lr': 3e-5,
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
        config=within,
        start='attention_step1',
        options=rates,
    ),
    image_any=dict(
        label='image level, any', config=image, start='attention_step1', options=rates
    ),
    image_all=dict(
        label='image level, all',
        config=image,
        start='attention_step1',
        options={**rates, f'{contrast}.rule': 'all'},
    ),
    image_jaccard=dict(
        label='image level, Jaccard',
        config=image,
        start='attention_step1',
        options={**rates, f'{contrast}.rule': 'jaccard'},
    ),
    image_threshold=dict(
        label='image level, threshold of 2',
        config=image,
        start='attention_step1',
        options={**rates, f'{contrast}.rule': 'threshold', f'{contrast}.threshold': 2},
    ),
    image_mulsupcon=dict(
        label='image level, MulSupCon',
        config=image,
        start='attention_step1',
        options={**rates, f'{contrast}.rule': 'mulsupcon'},
    ),
    image_similarity=dict(
        label='image level, similarity-dissimilarity',
        config=image,
        start='attention_step1',
        options={**rates, f'{contrast}.rule': 'similarity_dissimilarity'},
    ),
    gap_step1=dict(label='average pooling, BCE: step 1', config=gap, until='step1'),
    gap=dict(label='average pooling, BCE', config=gap, start='gap_step1'),
    mile=dict(
        label='MILe',
        config='configs/mile/mile_efflite0_voc07.py',
        start='gap_step1',
    ),
    gmp=dict(
        label='maximum pooling, BCE', config='configs/baselines/gmp_efflite0_voc07.py'
    ),
    gap_asl=dict(
        label='average pooling, ASL',
        config='configs/baselines/gap_asl_efflite0_voc07.py',
    ),
    csra=dict(label='CSRA', config='configs/csra/csra_efflite0_voc07.py'),
    query2label=dict(
        label='Query2Label',
        config='configs/query2label/query2label_efflite0_voc07.py',
        options=decoder_rates,
    ),
    ml_decoder=dict(
        label='ML-Decoder',
        config='configs/ml_decoder/ml_decoder_efflite0_voc07.py',
        options=rates,
    ),
    sadcl=dict(
        label='SADCL',
        config='configs/sadcl/sadcl_efflite0_voc07.py',
        options=decoder_rates,
    ),
    cgmvae=dict(label='C-GMVAE', config='configs/cgmvae/cgmvae_efflite0_voc07.py'),
    kmcl=dict(label='KMCL', config='configs/kmcl/kmcl_efflite0_voc07.py'),
)
del attention, mulcon, within, gap, image, contrast, rates, decoder_rates
# After pooling, the embedding is the frozen feature itself, equal for all heads.
for name in ('gap_step1', 'gap', 'mile', 'gmp', 'gap_asl', 'csra', 'cgmvae', 'kmcl'):
    methods[name]['embeddings'] = False
del name
