# SPDX-License-Identifier: Apache-2.0
"""Several training steps, one after the other, from one config."""

import copy
import gc
import os.path as osp
from functools import cached_property
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS, RUNNERS
from torch import nn

from ..hooks import CheckpointCheckHook
from .checked_runner import CheckedRunner
from .pointers import FINISHED, LAST, STARTED_FROM, read_pointer, write_pointer

NEW_PARTS = (
    'head.projector.',
    'head.label_scale.',
    'head.contrastive_module.',
    'head.prototypes',
    'head.memory_bits',
    'momentum_encoder.',
)
"""What a later step may train in addition to the step before."""


class StartHook(Hook):
    """Let a step start from the EMA weights of a checkpoint and from nothing else.

    A checkpoint's ``state_dict`` holds the EMA weights already. Given the rest, the
    EMA hook would overwrite the model with its own copy, which was made before the
    Runner initialised the weights: what the checkpoint lacks, such as the projector,
    would start from other values than its ``init_cfg`` says.

    Args:
        given (str, optional): The checkpoint, if it is none of the run's own, to be
            noted for a later resume. Defaults to None.
    """

    # before the EMA hook
    priority = 'VERY_HIGH'

    def __init__(self, given: str | None = None):
        self.given = given

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remove what belongs to the step that the checkpoint comes from."""
        checkpoint.pop('ema_state_dict', None)

    def before_train(self, runner) -> None:
        """Note what the step starts from, now that it is known to fit the model."""
        if self.given is not None and is_main_process():
            write_pointer(runner.work_dir, STARTED_FROM, self.given)


@RUNNERS.register_module()
class StepwiseRunner:
    """Train in steps, each an MMEngine ``Runner`` that starts from the last.

    The config is a usual MMPretrain config with two more fields:

    .. code-block:: python

        runner_type = 'mmpretrain.StepwiseRunner'
        steps = dict(
            step1=dict(),                       # the config as it stands
            step2=dict(                         # the config with these changes
                train_dataloader=dict(batch_size=24),
                optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', ...)),
            ))

    A step's changes are merged into the rest of the config as a child config is
    into its base (``_delete_=True`` replaces a dict). So an option such as
    ``--cfg-options train_dataloader.num_workers=8`` reaches every step that does
    not set it itself, and ``steps.step2.train_cfg.max_epochs=3`` one step only.

    Each step works in a folder of its name in ``work_dir``, and starts from the
    weights that the step before left: the last checkpoint, or the file named by
    the step's ``init_from`` (e.g. ``'epoch_15.pth'``). An earlier one is still there
    at the end of the step before if its CheckpointHook keeps it, e.g. with
    ``steps.step1.default_hooks.checkpoint.max_keep_ckpts=-1``. Where checkpoints carry
    EMA weights, the next step starts from these (MMPretrain's ``EMAHook``). They must
    have all weights of its model, except those of contrast (:data:`NEW_PARTS`) and
    those whose names begin as the step's ``fresh_parts`` (e.g. ``['head.gate.']``).

    - ``resume=True``: the last step that has got anywhere goes on from its latest
      checkpoint or, if it is finished, the one after it starts. The folder may have
      been moved.
    - ``resume=True, load_from=FILE``: goes on from this checkpoint; the name of
      its folder tells the step.
    - ``load_from=FILE`` alone: FILE holds weights of the first step, and
      training starts at the second. A later ``resume=True`` starts from FILE again
      if the second step has saved nothing.

    In a run of several machines ``work_dir`` must be a shared folder, as for
    every resume in MMEngine. Whatever is not training (``test``, ``val``) is
    done by a plain Runner on the config as it stands.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If ``steps`` is missing or empty, or names a key that is no
            dict.
    """

    def __init__(self, cfg: Config):
        cfg = copy.deepcopy(cfg)
        steps = cfg.pop('steps', None)
        cfg.pop('runner_type', None)
        if not isinstance(steps, dict) or not steps:
            raise ValueError(
                'StepwiseRunner expects steps=dict(NAME=dict(...), ...) in the '
                f'config, got {steps!r}. Use the default Runner for a single step.'
            )
        for name, changes in steps.items():
            if not isinstance(changes, dict):
                raise ValueError(
                    f'steps.{name} must be a dict of changes to the config, got '
                    f'{changes!r}.'
                )
        self.cfg = cfg
        self.steps: dict[str, ConfigDict] = dict(steps)
        self.work_dir = cfg['work_dir']

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'StepwiseRunner':
        """Build from a config, as MMEngine builds runners."""
        return cls(cfg)

    @cached_property
    def runner(self) -> Runner:
        """Runner: A plain runner on the config as it stands."""
        return CheckedRunner.from_cfg(self.cfg)

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.runner, name)

    def step_dir(self, name: str) -> str:
        """Folder of a step's checkpoints and logs."""
        return osp.join(self.work_dir, name)

    def step_config(self, name: str) -> Config:
        """The plain config that a step trains with, except where it starts."""
        cfg = copy.deepcopy(self.cfg)
        changes = copy.deepcopy(self.steps[name])
        for field in ('init_from', 'fresh_parts'):
            changes.pop(field, None)
        cfg.merge_from_dict(changes)
        cfg.work_dir = self.step_dir(name)
        stem = osp.splitext(osp.basename(cfg.filename or 'train'))[0]
        # Loggers and visualizers are looked up by this name (MMEngine adds the
        # time), so that steps which share it would share their files as well.
        cfg.experiment_name = f'{stem}_{name}'
        return cfg

    def train(self) -> nn.Module:
        """Train all steps that are not done yet.

        Returns:
            nn.Module: The model after the last step.

        Raises:
            FileNotFoundError: If a checkpoint to start from does not exist.
            ValueError: If the step of a checkpoint to resume cannot be told, a
                checkpoint does not fit the model of the step that starts from it, or
                there is nothing left to train.
        """
        names = list(self.steps)
        automatic = self.cfg.get('resume') and self.cfg.get('load_from') is None
        first, load_from, resume = self._find_start(names)
        self._try_out(names[first:])
        # A run that goes on has nothing to forget, and other processes may still be
        # reading where it stopped.
        if not automatic:
            # What a step that trains anew, or once more, left behind is out of date.
            self._forget(names[first + resume :])
            Path(self.step_dir(names[first]), FINISHED).unlink(missing_ok=True)
        if resume:
            # until there is a newer one
            write_pointer(self.step_dir(names[first]), LAST, load_from)
        given = None if resume else load_from
        runner = None
        for index in range(first, len(names)):
            name = names[index]
            if runner is not None:
                # Two models and their optimizers need not be held at once.
                runner = None
                gc.collect()
            cfg = self.step_config(name)
            if load_from is None and not resume and index > 0:
                load_from = self._init_from(names[index - 1], name)
            if load_from is not None:
                cfg.load_from = load_from
            cfg.resume = resume
            runner = CheckedRunner.from_cfg(cfg)
            if not resume:
                runner.register_hook(StartHook(given))
                if index > 0:
                    fresh = (*NEW_PARTS, *self.steps[name].get('fresh_parts', ()))
                    runner.register_hook(CheckpointCheckHook(fresh))
            runner.logger.info(f'Training step {index + 1} of {len(names)}: {name}')
            runner.train()
            self._finish(name)
            load_from, resume, given = None, False, None
        model = runner.model
        return model.module if is_model_wrapper(model) else model

    def _find_start(self, names: list[str]) -> tuple[int, str | None, bool]:
        """Index of the first step to train, its checkpoint, and whether it goes
        on inside the step.
        """
        load_from, resume = self.cfg.get('load_from'), self.cfg.get('resume', False)
        self.cfg.load_from, self.cfg.resume = None, False
        if load_from is not None:
            self._check_file(load_from)
        if resume and load_from is not None:
            name = osp.basename(osp.dirname(osp.abspath(load_from)))
            if name not in names:
                raise ValueError(
                    f'Cannot tell which training step {load_from} belongs to: the '
                    f"name of its folder is '{name}', expected one of {names}."
                )
            return names.index(name), load_from, True
        if load_from is not None:
            if len(names) < 2:
                raise ValueError(
                    'load_from takes the weights of the first step, to start at the '
                    f'second, but the only step is {names}. To initialise a step, '
                    f'set steps.{names[0]}.load_from.'
                )
            return 1, load_from, False
        if not resume:
            return 0, None, False
        # From the end: a run that was given weights of the first step has left that
        # one out.
        for index in reversed(range(len(names))):
            folder = self.step_dir(names[index])
            if osp.exists(osp.join(folder, FINISHED)):
                if index + 1 < len(names):
                    return index + 1, None, False
                raise ValueError(
                    f'All steps in {self.work_dir} are finished '
                    f'({", ".join(names)}). Train without --resume to start anew, or '
                    'name a checkpoint to resume from.'
                )
            latest = read_pointer(folder, LAST)
            if latest is not None:
                return index, self._check_last(latest, folder), True
            started_from = read_pointer(folder, STARTED_FROM)
            if started_from is not None:
                return index, self._check_file(started_from), False
        return 0, None, False

    def _try_out(self, names: list[str]) -> None:
        """Build small parts of all models, to see their errors before any training."""
        for name in names:
            cfg = self.step_config(name)
            preprocessor = cfg.model.get('data_preprocessor') or cfg.get(
                'data_preprocessor'
            )
            with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
                for part in (cfg.model.get('head'), preprocessor):
                    if part is not None and 'type' in part:
                        MODELS.build(copy.deepcopy(part))

    def _init_from(self, previous: str, name: str) -> str | None:
        """The checkpoint that step ``name`` starts from."""
        folder = self.step_dir(previous)
        chosen = self.steps[name].get('init_from')
        if chosen is not None:
            return self._check_file(osp.join(folder, chosen))
        latest = read_pointer(folder, LAST)
        if latest is None:
            raise FileNotFoundError(
                f'Step {name} starts from the weights of {previous}, but {folder} '
                'holds no checkpoint. Let the CheckpointHook save at least one.'
            )
        return self._check_file(latest)

    def _check_last(self, path: str, folder: str) -> str:
        """The checkpoint that an unfinished step goes on from."""
        try:
            return self._check_file(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{error} {osp.join(folder, LAST)} names it. It may have been deleted, '
                'or the run was killed while it replaced the only checkpoint that it '
                'keeps (max_keep_ckpts=1). Write another checkpoint of this step into '
                'that file, or delete the file to start the step anew.'
            ) from error

    def _check_file(self, path: str) -> str:
        if '://' not in path and not osp.isfile(path):
            raise FileNotFoundError(f'Checkpoint {path} does not exist.')
        return path

    def _forget(self, names: list[str]) -> None:
        """Let a fresh start not be taken for an older run by a later resume.

        Only the files that point to checkpoints go, no checkpoint does.
        """
        for name in names:
            for pointer in (FINISHED, LAST, STARTED_FROM):
                path = Path(self.step_dir(name), pointer)
                if path.exists():
                    print_log(
                        f'Step {name} starts anew; a later --resume will not go '
                        f'back to the checkpoints already in {path.parent}.',
                        'current',
                    )
                    path.unlink(missing_ok=True)

    def _finish(self, name: str) -> None:
        """Mark a step as finished, seen by all processes."""
        if is_main_process():
            latest = read_pointer(self.step_dir(name), LAST)
            Path(self.step_dir(name), FINISHED).write_text(latest or '')
        barrier()
