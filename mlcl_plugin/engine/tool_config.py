# SPDX-License-Identifier: Apache-2.0
"""Settings of a run that the tools merge into its config, and its runner."""

import os.path as osp

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .runner import (
    CachedFeaturesRunner,
    CheckedRunner,
    StepwiseRunner,
    run_has_begun,
)


def set_work_dir(cfg: Config, config_path: str, work_dir: str | None = None) -> None:
    """Set the folder of a run.

    An argument has priority over the config, and the config over
    ``./work_dirs/NAME_OF_THE_CONFIG_FILE``.

    Args:
        cfg (Config): The config, changed in place.
        config_path (str): The file of the config.
        work_dir (str, optional): The folder. Defaults to None.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(config_path))[0]
        cfg.work_dir = osp.join('./work_dirs', name)


def set_resume(cfg: Config, checkpoint: str | None) -> None:
    """Let a run resume.

    Args:
        cfg (Config): The config with its ``work_dir``, changed in place.
        checkpoint (str, optional): A checkpoint to resume from; ``'auto'`` for the
            latest one in ``work_dir`` or, if no training has begun there, a start as
            without it. None changes nothing.
    """
    if checkpoint == 'auto':
        cfg.resume = run_has_begun(cfg)
        if cfg.resume:
            # The first call may have started from given weights.
            cfg.load_from = None
    elif checkpoint is not None:
        cfg.resume = True
        cfg.load_from = checkpoint


def skip_validation(cfg: Config) -> None:
    """Let a training run without validation.

    Args:
        cfg (Config): The config, changed in place.
    """
    cfg.val_cfg = None
    cfg.val_dataloader = None
    cfg.val_evaluator = None


def build_runner(cfg: Config) -> Runner | StepwiseRunner | CachedFeaturesRunner:
    """Build the runner of a config.

    Args:
        cfg (Config): The config.

    Returns:
        Runner | StepwiseRunner | CachedFeaturesRunner: The one that ``runner_type``
        names; without it a :class:`CheckedRunner`, or a :class:`CachedFeaturesRunner`
        if the config has ``cached_features``.
    """
    if cfg.get('runner_type') is not None:
        return RUNNERS.build(cfg)
    if cfg.get('cached_features') is not None:
        return CachedFeaturesRunner(cfg)
    return CheckedRunner.from_cfg(cfg)
