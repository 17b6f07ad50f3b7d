# SPDX-License-Identifier: Apache-2.0
"""Mixed precision by one flag, on GPUs and CPUs."""

import torch
from mmengine.config import Config


def enable_amp(cfg: Config, train: bool) -> None:
    """Let a config train or test in mixed precision (``--amp`` of the tools).

    With a GPU this is what MMPretrain's tools do. Without one, where MMEngine's
    ``AmpOptimWrapper`` refuses to start, training runs under
    :class:`AutocastOptimWrapper` in bfloat16, MMEngine's test loop in bfloat16 by
    itself, and images are handed to the network in channels-last layout, unless the
    config sets ``channels_last`` of ``MultiViewDataPreprocessor`` itself.

    Args:
        cfg (Config): The config, changed in place.
        train (bool): True for training, False for testing.

    Raises:
        ValueError: If the config has an optimizer wrapper that knows nothing of
            mixed precision.
    """
    has_gpu = torch.cuda.is_available()
    if not train:
        cfg.test_cfg.fp16 = True
    else:
        wrapper = cfg.optim_wrapper
        kinds = ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper')
        if wrapper.get('type', 'OptimWrapper') not in kinds:
            raise ValueError(
                f'--amp cannot be combined with optim_wrapper.type={wrapper.type!r}, '
                f'expected one of {kinds}.'
            )
        if has_gpu:
            wrapper.type = 'AmpOptimWrapper'
            wrapper.setdefault('loss_scale', 'dynamic')
        else:
            wrapper.type = 'AutocastOptimWrapper'
            for option in ('loss_scale', 'dtype', 'use_fsdp'):
                wrapper.pop(option, None)
    if not has_gpu:
        for owner in (cfg, cfg.model):
            preprocessor = owner.get('data_preprocessor') or {}
            if preprocessor.get('type') == 'MultiViewDataPreprocessor':
                preprocessor.setdefault('channels_last', True)
