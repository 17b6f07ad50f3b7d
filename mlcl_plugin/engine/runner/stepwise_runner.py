# SPDX-License-Identifier: Apache-2.0
"""Several training steps, one after the other, from one config."""

import copy
import gc

from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, RUNNERS
from torch import nn

from ..dist import init_distributed
from ..hooks import CheckpointCheckHook, StartHook
from ..lost_processes import named_losses
from ..pointers import (
    FINISHED,
    LAST,
    STARTED_FROM,
    mark_finished,
    remove_pointers,
    write_pointer,
)
from ..steps import (
    check_steps,
    step_changes,
    step_config,
    step_dir,
    step_names,
)
from ..unwrap import unwrap_model
from ..work_folder import hold_folder
from .checked_runner import CheckedRunner
from .feature_training import FeatureTraining
from .plain_runner import WithPlainRunner
from .start import Start, find_start, weights_for_step


@RUNNERS.register_module()
class StepwiseRunner(WithPlainRunner):
    """Train in steps, each an MMEngine ``Runner`` that starts from the last.

    The config is a usual MMPretrain config with two more fields:

    .. code-block:: python

        runner_type = 'mmpretrain.StepwiseRunner'
        steps = dict(
            step1=dict(),                       # the config as it is
            step2=dict(                         # the config with these changes
                train_dataloader=dict(batch_size=24),
                optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', ...)),
            ))

    The changes of a step are merged into the rest of the config as a child config is
    into its base (``_delete_=True`` replaces a dict). So the option
    ``train_dataloader.num_workers=8`` reaches every step that does not set it itself,
    and ``steps.step2.train_cfg.max_epochs=3`` one step only.

    Each step works in a folder of its name in ``work_dir``. It starts from the weights
    that the step before left: the last checkpoint, or the file named by the step's
    ``init_from`` (e.g. ``'epoch_15.pth'``). An earlier checkpoint still exists at the
    end of the step before if its CheckpointHook keeps it, e.g. with
    ``steps.step1.default_hooks.checkpoint.max_keep_ckpts=-1``. If checkpoints have EMA
    weights (MMPretrain's ``EMAHook``), the next step starts from these. A checkpoint
    must have all weights of the step's model, except those that only training needs
    (:class:`TrainingOnlyParts`) and those whose names start with one of the step's
    ``fresh_parts`` (e.g. ``['head.gate.']``).

    - ``resume=True``: goes on from the latest checkpoint of the last step that has
      begun or, if that step is finished, starts the next one. The folder may have been
      moved.
    - ``resume=True, load_from=FILE``: goes on from this checkpoint. The name of its
      folder tells the step.
    - ``load_from=FILE`` alone: FILE holds weights of the first step, and training
      starts at the second. A later ``resume=True`` starts from FILE again if the second
      step has saved nothing.

    In a run of several machines ``work_dir`` must be a shared folder, as for every
    resume in MMEngine. A plain Runner on the config without its steps does everything
    but training (``test``, ``val``).

    With ``cached_features`` the steps train on features of the frozen backbone that are
    computed once, see :class:`FeatureTraining`. The last ones may set
    ``cached_features=None`` and train on images.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If ``steps`` is missing or empty, or a step is not a dict.
    """

    def __init__(self, cfg: Config):
        check_steps(cfg)
        self.cfg = copy.deepcopy(cfg)
        self.work_dir: str = cfg['work_dir']
        self._features: FeatureTraining | None = None

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'StepwiseRunner':
        """Build from a config, as MMEngine builds runners."""
        return cls(cfg)

    @property
    def steps(self) -> dict[str, ConfigDict]:
        """dict[str, ConfigDict]: The changes of each step, by its name."""
        return dict(self.cfg.steps)

    def step_hooks(self, name: str) -> list[Hook]:
        """Hooks of a step besides those of its config, for subclasses."""
        return []

    def feature_training(self) -> FeatureTraining:
        """What trains on cached features, for subclasses that have theirs."""
        return FeatureTraining(self.cfg)

    def step_dir(self, name: str) -> str:
        """Folder of a step's checkpoints and logs."""
        return step_dir(self.cfg, name)

    def step_config(self, name: str) -> Config:
        """Plain config that a step trains with, except where it starts."""
        return step_config(self.cfg, name)

    def train(self) -> nn.Module:
        """Train all steps that are not finished.

        Returns:
            nn.Module: The model after the last step.

        Raises:
            FileNotFoundError: If a checkpoint to start from does not exist.
            FinishedError: If there is nothing left to train.
            FolderInUseError: If another run writes into ``work_dir``.
            LostProcessError: If another process of the run does not answer.
            ValueError: If the step of a checkpoint to resume is unknown, or a
                checkpoint does not fit the model of the step that starts from it.
        """
        if self.cfg.get('cached_features') is not None:
            self._features = self.feature_training()
        # The processes agree on who holds the folder before they read it.
        init_distributed(self.cfg)
        with named_losses(), hold_folder(self.work_dir):
            return self._train_steps()

    def _train_steps(self) -> nn.Module:
        start = find_start(self.cfg)
        names = step_names(self.cfg)
        later = names[names.index(start.step) + 1 :]
        self._try_out([start.step, *later])
        self._set_pointers(start, later)
        *unfinished, last = [start, *map(Start, later)]
        for step in unfinished:
            self._train_step(step)
            # Free its model and optimizer, which reference cycles keep, before those
            # of the next step are built.
            gc.collect()
        return self._train_step(last)

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

    def _set_pointers(self, start: Start, later: list[str]) -> None:
        """Let the folders agree with a start, for a later resume."""
        # If the folders say where to start, nothing in them is out of date, and other
        # processes may still be reading it.
        if not start.from_folders:
            for name in later if start.resume_from else [start.step, *later]:
                self._forget(name)
            remove_pointers(self.step_dir(start.step), FINISHED)
        if start.resume_from is not None:
            # until there is a newer one
            write_pointer(self.step_dir(start.step), LAST, start.resume_from)

    def _forget(self, name: str) -> None:
        """Keep a later resume from going back to an earlier training of a step."""
        folder = self.step_dir(name)
        if remove_pointers(folder, FINISHED, LAST, STARTED_FROM):
            print_log(
                f'Step {name} starts anew. A later resume will not go back to the '
                f'checkpoints that are in {folder} now.',
                'current',
            )

    def _train_step(self, start: Start) -> nn.Module:
        """Train one step and mark it as finished."""
        names = step_names(self.cfg)
        whole = copy.deepcopy(self.cfg)
        # It says where the run starts, not each step.
        whole.load_from = None
        cfg = step_config(whole, start.step)
        checkpoint = (
            start.resume_from or start.weights or weights_for_step(self.cfg, start.step)
        )
        if checkpoint is not None:
            cfg.load_from = checkpoint
        cfg.resume = start.resume_from is not None

        if self._features is not None and cfg.get('cached_features') is not None:
            runner = self._features.make_runner(cfg)
        else:
            runner = CheckedRunner.from_cfg(cfg)
        if not cfg.resume:
            runner.register_hook(StartHook(start.weights))
            if start.step != names[0]:
                fresh_parts = step_changes(self.cfg, start.step).get('fresh_parts', ())
                runner.register_hook(
                    CheckpointCheckHook(fresh_parts, training_parts=True)
                )
        for hook in self.step_hooks(start.step):
            runner.register_hook(hook)
        position = names.index(start.step) + 1
        runner.logger.info(f'Training step {position} of {len(names)}: {start.step}')
        runner.train()

        if is_main_process():
            mark_finished(self.step_dir(start.step))
        # All processes see it.
        barrier()
        return unwrap_model(runner.model)
