# SPDX-License-Identifier: Apache-2.0
"""MMEngine's runner with checks, durable checkpoints and an exact resume."""

import copy
import os
import os.path as osp
import time
from contextlib import suppress
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size, master_only
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from ...errors import CheckpointError, OtherLabelsError, SaveError
from ...plain_text import PrintableLog
from ..checkpoint_fit import check_optimizer
from ..config_text import FormattedConfig
from ..counter_seeds import CounterSeedHook, SeededSamples
from ..durable_files import PART, publish
from ..epoch_loop import ResumableEpochLoop
from ..hooks import (
    AverageStatisticsHook,
    DurableCheckpointHook,
    EpochPositionHook,
    LabelCountsHook,
    LoadedCheckpointHook,
    NonFiniteHook,
    PendingValidationHook,
)
from ..last_checkpoint import find_last_checkpoint
from ..log_notes import leave_out_notes
from ..lost_processes import named_losses
from ..safe_checkpoint import names_not_allowed
from ..work_folder import hold_folder


class CheckedRunner(Runner):
    """Runner that loses nothing and says what is wrong.

    - A dataset without an image or batch gives a clear error. MMEngine fails with a
      message of numpy, or trains without an iteration.
    - A checkpoint gets its name when it is complete, and the one before is removed
      after that (:class:`DurableCheckpointHook` replaces ``CheckpointHook``).
    - A checkpoint that is loaded must have weights that the model can use, and the
      labels of the data set (:class:`LoadedCheckpointHook`).
    - A resume takes the latest checkpoint that can be read.
    - With an epoch-based loop, a run that resumes continues bit for bit, also inside
      an epoch (:class:`CounterSeedHook`, :class:`SeededSamples`,
      :class:`ResumableEpochLoop`, :class:`EpochPositionHook`,
      :class:`PendingValidationHook`).
    - Losses that balance labels learn how often these are present
      (:class:`LabelCountsHook`).
    - All processes validate the model that is saved (:class:`AverageStatisticsHook`).
    - Losses and gradients that are not finite stop the run (:class:`NonFiniteHook`).
    - Two runs do not write into one folder (:func:`hold_folder`), and two runs of a
      process share no memory of scores and checkpoints.

    Config fields of its own: ``allow_other_labels=True`` goes on with a warning where
    labels differ. Defaults to False.
    """

    # MMEngine sets these.
    _resume: bool
    _load_from: str | None
    _train_dataloader: Any
    _has_warned = False
    _timestamp: str
    _last_start = 0.0

    def __init__(self, *args: Any, cfg: Config | dict | None = None, **kwargs: Any):
        if isinstance(cfg, Config):
            cfg = FormattedConfig.of(cfg)
        super().__init__(*args, cfg=cfg, **kwargs)

    def register_hooks(
        self, default_hooks: dict | None = None, custom_hooks: list | None = None
    ) -> None:
        """Register the hooks of a config and those of this class."""
        default_hooks = dict(default_hooks or {})
        checkpoint = default_hooks.get('checkpoint', dict(type='CheckpointHook'))
        default_hooks['checkpoint'] = _durable(checkpoint)
        super().register_hooks(default_hooks, list(map(_durable, custom_hooks or [])))
        self.register_hook(LoadedCheckpointHook())
        self.register_hook(LabelCountsHook())
        self.register_hook(CounterSeedHook())
        self.register_hook(AverageStatisticsHook())
        self.register_hook(EpochPositionHook())
        self.register_hook(PendingValidationHook())
        if not any(isinstance(hook, NonFiniteHook) for hook in self.hooks):
            self.register_hook(NonFiniteHook())

    def setup_env(self, env_cfg: dict) -> None:
        """Set up processes and libraries, and give the run a second of its own.

        MMEngine names what it remembers of a run by config and second of the start. Two
        short runs of a process would share it, and the second one would remove its
        checkpoints as outdated ones of the first.
        """
        super().setup_env(env_cfg)
        form = '%Y%m%d_%H%M%S'
        start = time.mktime(time.strptime(self._timestamp, form))
        CheckedRunner._last_start = max(start, CheckedRunner._last_start + 1)
        self._timestamp = time.strftime(form, time.localtime(self._last_start))

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build a logger that writes control characters of names as escapes.

        It leaves out notes to developers (:func:`.leave_out_notes`).
        """
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not any(isinstance(f, PrintableLog) for f in handler.filters):
                handler.addFilter(PrintableLog())
        leave_out_notes(logger)
        return logger

    def train(self) -> nn.Module:
        """Train, see :meth:`mmengine.runner.Runner.train`.

        Raises:
            FolderInUseError: If another run writes into ``work_dir``.
            LostProcessError: If another process of the run does not answer.
            ValueError: If the config has ``cached_features``, which this class does not
                train on.
        """
        if self.cfg.get('cached_features') is not None:
            raise ValueError(
                'cached_features has no effect on the runner '
                f'{type(self).__name__}. Build it by mlcl_plugin.engine.build_runner, '
                'or remove the field.'
            )
        with named_losses(), hold_folder(self.work_dir):
            return super().train()

    def test(self) -> dict:
        """Test, see :meth:`mmengine.runner.Runner.test`.

        Raises:
            LostProcessError: If another process of the run does not answer.
        """
        with named_losses():
            return super().test()

    def load_or_resume(self) -> None:
        """Load a checkpoint; a resume without one takes the latest that can be read.

        A test or validation takes its weights only.
        """
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = find_last_checkpoint(self.work_dir)
            # MMEngine would look for the file that the pointer names.
            self._resume = self._load_from is not None
        if not isinstance(self._train_loop, BaseLoop):
            # The config may be that of a training that was resumed.
            self._resume = False
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume from a checkpoint, see :meth:`mmengine.runner.Runner.resume`.

        Raises:
            CheckpointError: If the checkpoint lacks a part, or a part has another form
                than this run's.
        """
        try:
            super().resume(filename, *args, **kwargs)
            check_optimizer(self.optim_wrapper)
            self._say_if_finished(filename)
        except (CheckpointError, OtherLabelsError, OSError):
            raise
        except (
            LookupError,
            TypeError,
            AttributeError,
            AssertionError,
            ValueError,
            RuntimeError,
        ) as e:
            # A KeyError's text is the key alone.
            raise CheckpointError(
                f'{filename} cannot be resumed from: it does not fit this run '
                f'({type(e).__name__}: {e}). Use it as load_from, to start from its '
                'weights.'
            ) from e

    def _say_if_finished(self, checkpoint: str) -> None:
        """Log that nothing is left to train. MMEngine's loop then ends in silence."""
        loop = self.train_loop
        if loop.epoch >= loop.max_epochs or loop.iter >= loop.max_iters:
            self.logger.info(
                f'The training is finished: {checkpoint} is its last checkpoint, after '
                f'{loop.iter} of {loop.max_iters} iterations. For a longer training, '
                'set train_cfg and the schedule and start anew.'
            )

    @master_only
    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        *args: Any,
        backend_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        """Save a checkpoint, see :meth:`mmengine.runner.Runner.save_checkpoint`.

        Raises:
            SaveError: If it cannot be written. Earlier checkpoints are left as they
                are.
        """
        backend = get_file_backend(out_dir, backend_args=backend_args)
        # Object stores give a file its name when it is complete.
        local = isinstance(backend, LocalBackend) and file_client_args is None
        path = osp.join(out_dir, filename)
        try:
            super().save_checkpoint(
                out_dir,
                filename + PART if local else filename,
                file_client_args,
                *args,
                backend_args=backend_args,
                **kwargs,
            )
            if local:
                self._warn_of_names(path + PART)
                publish(path + PART, path)
        except OSError as error:
            raise SaveError(
                error.errno,
                f'Cannot save the checkpoint {path}: {error.strerror or error}. '
                'Earlier checkpoints are intact. Make room or set another work_dir, '
                'then resume',
            ) from error
        finally:
            if local:
                # What a failed save has left.
                with suppress(OSError):
                    os.unlink(path + PART)

    def _warn_of_names(self, path: str) -> None:
        """Warn, once, of a checkpoint that a resume would refuse."""
        if self._has_warned:
            return
        self._has_warned = True
        try:
            names = names_not_allowed(path)
        except ValueError as error:
            self.logger.warning(
                f'A resume refuses the checkpoints of this run, unless unsafe ones are '
                f'allowed: {error}. A hook or data set may have stored long lists.'
            )
            return
        if names:
            self.logger.warning(
                f'Checkpoints of this run refer to {", ".join(names[:5])}, which a '
                'resume refuses unless unsafe checkpoints are allowed. A hook or data '
                'set may have stored such objects.'
            )

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict,
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a dataloader, see :meth:`mmengine.runner.Runner.build_dataloader`.

        Raises:
            ValueError: If the dataset has no image.
        """
        try:
            return Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        except ValueError as error:
            _explain_empty(error, dataloader)
            raise

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop, see :meth:`mmengine.runner.Runner.build_train_loop`.

        Raises:
            ValueError: If its dataloader has images but no batch.
        """
        if isinstance(loop, dict) and _is_epoch_based(loop):
            self._train_dataloader = self._seed_samples(self._train_dataloader)
            # A config with both keys gets MMEngine's error.
            if not {'type', 'by_epoch'} <= set(loop):
                options = {k: v for k, v in loop.items() if k != 'by_epoch'}
                loop = dict(options, type=ResumableEpochLoop)
        loop = super().build_train_loop(loop)
        loader = loop.dataloader
        # DatasetCheckHook raises for a dataset without images.
        if len(loader) == 0 and len(loader.dataset) > 0:
            raise ValueError(
                f'The train dataloader has no batch: {len(loader.dataset)} images in '
                f'{get_world_size()} process(es), {_describe_batches(loader)}. Set '
                'train_dataloader.batch_size to fewer images (in a config with steps '
                'also steps.NAME.train_dataloader.batch_size, if a step sets it), or '
                'set train_dataloader.drop_last=False.'
            )
        return loop

    def _seed_samples(self, dataloader: DataLoader | dict) -> DataLoader | dict:
        """Let the samples of a dataloader that is still to be built be seeded."""
        if not isinstance(dataloader, dict):
            return dataloader
        dataset = dataloader['dataset']
        if isinstance(dataset, dict):
            try:
                dataset = DATASETS.build(copy.deepcopy(dataset))
                dataset.full_init()
            except ValueError as error:
                _explain_empty(error, dataloader)
                raise
        samples = SeededSamples(dataset, self.seed)
        for hook in self.hooks:
            if isinstance(hook, CounterSeedHook):
                hook.samples = samples
        return {**dataloader, 'dataset': samples}


def _durable(hook: Hook | dict | None) -> Hook | dict | None:
    """A hook of a config, with our hook in place of MMEngine's for checkpoints."""
    kinds = ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook)
    if isinstance(hook, dict) and hook['type'] in kinds:
        return dict(hook, type=DurableCheckpointHook)
    return hook


def _is_epoch_based(loop: dict) -> bool:
    return loop.get('by_epoch', False) or loop.get('type') in (
        'EpochBasedTrainLoop',
        'mmengine.EpochBasedTrainLoop',
        EpochBasedTrainLoop,
        'ResumableEpochLoop',
        ResumableEpochLoop,
    )


def _explain_empty(error: ValueError, dataloader: DataLoader | dict) -> None:
    """Raise a clear error if an error says that a dataset has no image."""
    # NumPy's message: MMEngine concatenates the serialized images of a dataset.
    empty = 'need at least one array to concatenate' in str(error)
    if empty and isinstance(dataloader, dict):
        raise ValueError(
            f'No image in the dataset {_describe(dataloader["dataset"])}. Check '
            'data_root, the annotation file or image list, and indices.'
        ) from error


def _describe_batches(loader: DataLoader) -> str:
    sampler = loader.batch_sampler
    if isinstance(sampler, BatchSampler):
        return f'batch_size={sampler.batch_size} and drop_last={sampler.drop_last}'
    # A config may name another class, which says only how many batches it has.
    return f'batch_sampler={type(sampler).__name__}'


def _describe(dataset: dict) -> str:
    """Say where a dataset comes from, and the datasets that it wraps."""
    kind = dataset['type']
    fields = [
        f'{key}={dataset[key]!r}'
        for key in ('data_root', 'ann_file', 'split', 'image_set_path', 'indices')
        if dataset.get(key) is not None
    ]
    wrapped = [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets')
    fields += map(_describe, wrapped or [])
    return f'{kind if isinstance(kind, str) else kind.__name__}({", ".join(fields)})'
