# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on GPUs and CPUs."""

import torch
from mmengine.config import Config


def enable_amp(cfg: Config, train: bool) -> None:
    """Let a config train or test in mixed precision.

    With a GPU this does what MMPretrain's tools do. MMEngine's ``AmpOptimWrapper``
    refuses to start without one, so on a CPU training uses
    :class:`AutocastOptimWrapper` in bfloat16. MMEngine's test loop uses bfloat16 there
    by itself. On a CPU images also get the channels-last layout, unless the config sets
    ``channels_last`` of ``MultiViewDataPreprocessor`` itself.

    Args:
        cfg (Config): The config, changed in place.
        train (bool): True for training, False for testing.

    Raises:
        ValueError: If mixed precision cannot replace the config's optimizer wrapper.
    """
    has_gpu = torch.cuda.is_available()
    if not train:
        cfg.test_cfg.fp16 = True
    else:
        wrapper = cfg.optim_wrapper
        kinds = ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper')
        if wrapper.get('type', 'OptimWrapper') not in kinds:
            raise ValueError(
                'Mixed precision cannot be combined with '
                f'optim_wrapper.type={wrapper.type!r}, expected one of {kinds}.'
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
