# SPDX-License-Identifier: Apache-2.0
"""Settings of a run that the tools merge into its config, and its runner."""

import os.path as osp
from collections.abc import Collection, Mapping
from os import PathLike
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..recipes import find_config
from .config_arguments import check_arguments
from .config_fields import check_fields, check_option_names
from .runner import (
    CachedFeaturesRunner,
    CheckedRunner,
    StepwiseRunner,
    run_has_begun,
)
from .steps import base_config, check_step_options, step_config, trained_configs


def load_config(
    path: str | PathLike, options: Mapping[str, Any] | None = None
) -> Config:
    """Read a config for a training, with all its steps.

    Args:
        path (str | PathLike): The file, or the name of a recipe; see
            :func:`~mlcl_plugin.recipes.find_config`.
        options (dict, optional): Values by dotted key that replace those of the file.
            Defaults to none.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If there is no such file or recipe.
        ValueError: If the file cannot be read, or an option does not fit the config.
    """
    cfg = _read(path)
    merge_options(cfg, options)
    return cfg


def load_step_config(
    path: str | PathLike,
    options: Mapping[str, Any] | None = None,
    step: str | None = None,
) -> Config:
    """Read a config for a model that is not trained, with the changes of one step.

    Args:
        path (str | PathLike): The file, or the name of a recipe; see
            :func:`~mlcl_plugin.recipes.find_config`.
        options (dict, optional): Values by dotted key that replace those of the file.
            Defaults to none.
        step (str, optional): The step. Defaults to none: the config without the changes
            of its steps.

    Returns:
        Config: The config. Steps in it have no effect.

    Raises:
        FileNotFoundError: If there is no such file or recipe.
        ValueError: If the file cannot be read, an option does not fit the config, or
            there is no such step.
    """
    cfg = _read(path)
    merge_options(cfg, options, [] if step is None else [step])
    return cfg if step is None else step_config(cfg, step)


def _read(path: str | PathLike) -> Config:
    path = find_config(path)
    try:
        return Config.fromfile(path)
    except (OSError, ValueError):
        raise
    # A config is code, which may raise anything.
    except Exception as error:
        raise ValueError(
            f'{path} cannot be read: {type(error).__name__}: {error}'
        ) from error


def merge_options(
    cfg: Config,
    options: Mapping[str, Any] | None,
    used_steps: Collection[str] | None = None,
) -> None:
    """Merge options into a config; one that would change nothing is refused.

    Args:
        cfg (Config): The config, changed in place.
        options (dict, optional): Values by dotted key; None changes nothing.
        used_steps (Collection[str], optional): The steps whose changes are used.
            Defaults to all.

    Raises:
        ValueError: If an option sets no field of a run, sets a variable of the file
            or a field that every used step sets itself, names a step that does not
            exist, or its key leads through a value that has no keys.
    """
    if not options:
        return
    check_option_names(cfg, options)
    check_step_options(cfg.get('steps'), options, used_steps)
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'The options {", ".join(options)} do not fit the config: {error.args[0]}'
        ) from error


def set_work_dir(cfg: Config, config_path: str, work_dir: str | None = None) -> None:
    """Set the folder of a run.

    An argument has priority over the config, and the config over
    ``./work_dirs/NAME_OF_THE_CONFIG_FILE``.

    Args:
        cfg (Config): The config, changed in place.
        config_path (str): The file of the config, or the name of a recipe.
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


def check_config(cfg: Config) -> None:
    """Refuse what no run reads and no class takes, with similar names.

    Args:
        cfg (Config): The config, with its steps.

    Raises:
        ValueError: See :func:`check_fields` and :func:`check_arguments`.
    """
    check_fields(cfg)
    check_arguments(base_config(cfg))
    for plain in trained_configs(cfg):
        check_arguments(plain)


def build_runner(cfg: Config) -> Runner | StepwiseRunner | CachedFeaturesRunner:
    """Build the runner of a config.

    Args:
        cfg (Config): The config.

    Returns:
        Runner | StepwiseRunner | CachedFeaturesRunner: The one that ``runner_type``
        names; without it a :class:`CheckedRunner`, or a :class:`CachedFeaturesRunner`
        if the config has ``cached_features``.

    Raises:
        ValueError: If the config has a field or an argument that nothing takes.
    """
    check_config(cfg)
    if cfg.get('runner_type') is not None:
        return RUNNERS.build(cfg)
    if cfg.get('cached_features') is not None:
        return CachedFeaturesRunner(cfg)
    return CheckedRunner.from_cfg(cfg)
