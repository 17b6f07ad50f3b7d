"""Fields of all suites on features of a frozen EfficientNet-Lite0."""

seeds = [0, 1, 2, 3, 4]
# bfloat16 halves the time; the rates were tuned with it.
amp = True
frozen = dict(config='configs/mlcl/mlcl_bce_efflite0_voc07.py', num_views=8)
options = {
    'steps.step1.train_cfg.max_epochs': 8,
    'steps.step1.train_cfg.val_interval': 8,
    'param_scheduler.1.T_max': 8,
    'param_scheduler.1.end': 8,
    'steps.step2.train_cfg.max_epochs': 4,
    'steps.step2.train_cfg.val_interval': 4,
    'steps.step2.param_scheduler.0.T_max': 4,
    'steps.step2.param_scheduler.0.end': 4,
    # SGD at 0.01 with a tenth of it for the neck, as MulCon has it, changes little in
    # so few iterations: see the sweep. This rate is for heads on pooled features.
    'steps.step2.optim_wrapper.optimizer': dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4
    ),
    'steps.step2.optim_wrapper.paramwise_cfg': dict(_delete_=True),
}
# How label embeddings are measured: mlcl_plugin/evaluation/embedding_quality.py
embeddings = dict(shots=[1, 5], repeats=5, seed=0)
