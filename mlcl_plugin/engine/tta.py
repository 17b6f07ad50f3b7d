# SPDX-License-Identifier: Apache-2.0
"""Configs that test a model with test-time augmentation."""

from copy import deepcopy

from mmengine.config import Config, ConfigDict


def add_tta(cfg: Config) -> None:
    """Wrap the model of a config for test-time augmentation.

    The config's ``tta_model`` and ``tta_pipeline`` say how. Without these, scores are
    the mean over the image and its mirror image.

    Args:
        cfg (Config): A config with ``test_dataloader``; it is changed.
    """
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
    if 'tta_pipeline' not in cfg:
        pipeline = deepcopy(cfg.test_dataloader.dataset.pipeline)
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        pipeline[-1] = dict(type='TestTimeAug', transforms=[flips, [pipeline[-1]]])
        cfg.tta_pipeline = pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    if cfg.get('steps') is not None:
        # A model is tested without the changes of steps, which do not fit the wrapper.
        for name in ('steps', 'runner_type'):
            cfg.pop(name, None)
    # The EMA hook does not find its weights inside the wrapper and would test a model
    # with random weights. The weights of a checkpoint are the EMA weights already.
    cfg.custom_hooks = [
        hook
        for hook in cfg.get('custom_hooks') or []
        if 'EMAHook' not in str(hook.get('type'))
    ]
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
