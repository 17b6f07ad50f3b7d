# SPDX-License-Identifier: Apache-2.0
"""Where a run with steps starts. Reads config and folders, and changes nothing."""

import os.path as osp
from dataclasses import dataclass

from mmengine.config import Config

from ...errors import FinishedError
from ..checkpoint_file import check_checkpoint
from ..last_checkpoint import find_last_checkpoint
from ..pointers import (
    FINISHED,
    LAST,
    STARTED_FROM,
    has_begun,
    has_pointer,
    read_pointer,
)
from ..steps import step_changes, step_dir, step_names


@dataclass(frozen=True)
class Start:
    """Where the training of a step starts.

    Without a checkpoint, the first step starts as its own config says, and a later one
    from the weights that the step before left.

    Attributes:
        step (str): The name of the step.
        resume_from (str, optional): A checkpoint of the step itself. Its training goes
            on from there. Defaults to None.
        weights (str, optional): A checkpoint that was given instead of the weights of
            the step before. Defaults to None.
        from_folders (bool): Whether the folders of an earlier call say where to start.
            Otherwise what they say about the steps to train is out of date. Defaults to
            False.
    """

    step: str
    resume_from: str | None = None
    weights: str | None = None
    from_folders: bool = False


def find_start(cfg: Config) -> Start:
    """Find where a run starts.

    Args:
        cfg (Config): A config with steps. ``resume`` and ``load_from`` decide, as
            :class:`StepwiseRunner` describes.

    Returns:
        Start: The first step to train.

    Raises:
        FileNotFoundError: If a checkpoint to start from does not exist.
        FinishedError: If there is nothing left to train.
        ValueError: If the step of a checkpoint to resume is unknown, or the folder of
            an unfinished step has no checkpoint that can be read.
    """
    resume, checkpoint = cfg.get('resume', False), cfg.get('load_from')
    if checkpoint is None:
        return _start_of_folders(cfg) if resume else Start(step_names(cfg)[0])
    check_checkpoint(checkpoint)
    if resume:
        return Start(_step_of(cfg, checkpoint), resume_from=checkpoint)
    return Start(_second_step(cfg), weights=checkpoint)


def run_has_begun(cfg: Config) -> bool:
    """Whether a run can be resumed from its ``work_dir``.

    Args:
        cfg (Config): A config with or without steps.
    """
    folders = [cfg.work_dir, *(step_dir(cfg, name) for name in step_names(cfg))]
    return any(map(has_begun, folders))


def weights_for_step(cfg: Config, name: str) -> str | None:
    """Find the weights that the step before left.

    Args:
        cfg (Config): A config with steps.
        name (str): The step that starts from them.

    Returns:
        str, optional: The last checkpoint of the step before, or the one that
        ``init_from`` names; None for the first step.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
    """
    position = step_names(cfg).index(name)
    if position == 0:
        return None
    previous = step_names(cfg)[position - 1]
    folder = step_dir(cfg, previous)
    chosen = step_changes(cfg, name).get('init_from')
    if chosen is not None:
        return check_checkpoint(osp.join(folder, chosen))
    latest = read_pointer(folder, LAST)
    if latest is None:
        raise FileNotFoundError(
            f'Step {name} starts from the weights of {previous}, but {folder} has no '
            'checkpoint. Let the CheckpointHook save at least one.'
        )
    return check_checkpoint(latest)


def _step_of(cfg: Config, checkpoint: str) -> str:
    """The step that a checkpoint to resume belongs to."""
    name = osp.basename(osp.dirname(osp.abspath(checkpoint)))
    if name not in step_names(cfg):
        raise ValueError(
            f'Cannot tell which training step {checkpoint} belongs to: the name of its '
            f"folder is '{name}', expected one of {step_names(cfg)}."
        )
    return name


def _second_step(cfg: Config) -> str:
    """The step that starts from given weights, which are those of the first one."""
    names = step_names(cfg)
    if len(names) < 2:
        raise ValueError(
            'load_from takes the weights of the first step and starts at the second, '
            f'but the only step is {names}. To initialise a step, set '
            f'steps.{names[0]}.load_from.'
        )
    return names[1]


def _start_of_folders(cfg: Config) -> Start:
    """Where the folders of the steps say that an earlier call stopped."""
    names = step_names(cfg)
    # Search from the end: a call with given weights has left out the first step.
    for position in reversed(range(len(names))):
        name, folder = names[position], step_dir(cfg, names[position])
        if has_pointer(folder, FINISHED):
            if position + 1 < len(names):
                return Start(names[position + 1], from_folders=True)
            last = read_pointer(folder, LAST)
            raise FinishedError(
                f'All steps in {cfg.work_dir} are finished ({", ".join(names)}). '
                + (f'The last checkpoint is {last}. ' if last else '')
                + 'Set resume=False to start anew, or name a checkpoint to resume from.'
            )
        latest = find_last_checkpoint(folder)
        if latest is not None:
            return Start(name, resume_from=latest, from_folders=True)
        weights = read_pointer(folder, STARTED_FROM)
        if weights is not None:
            check_checkpoint(weights)
            return Start(name, weights=weights, from_folders=True)
    return Start(names[0], from_folders=True)
