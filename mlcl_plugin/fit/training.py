# SPDX-License-Identifier: Apache-2.0
"""Compute features, train both steps, and take the result out of the work folder."""

import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..engine import (
    CachedFeatures,
    FeatureExtraction,
    StepwiseRunner,
    base_config,
    step_names,
)
from ..engine.last_checkpoint import find_last_checkpoint
from ..engine.runner.feature_training import FeatureTraining
from ..errors import FinishedError
from ..reports.training_log import read_scalars
from .console import Console, EpochLines, duration
from .scores import pool

PATIENCE = 5.0
"""Seconds without a line of progress."""


class FitRunner(StepwiseRunner):
    """A :class:`StepwiseRunner` that writes a line per epoch.

    Args:
        cfg (Config): The config.
        console (Console): Where to.
        device (str, optional): Where features are computed, if they are.
    """

    def __init__(self, cfg: Config, console: Console, device: str | None = None):
        super().__init__(cfg)
        self.console = console
        self.device = device

    def feature_training(self) -> FeatureTraining:
        """A training whose features are those of this device."""
        return FeatureTraining(self.cfg, device=self.device)

    def step_hooks(self, name: str) -> list[Hook]:
        """The hook that writes the lines."""
        names = step_names(self.cfg)
        later = names[names.index(name) + 1 :]
        after = sum(self.step_config(step).train_cfg.max_epochs for step in later)
        # Neighbours and regression are made after the training.
        alone = self.cfg.model.get('neighbours') is not None
        judged = "head's val mAP" if alone else 'val mAP'
        return [EpochLines(self.console, name, after, judged)]


class FrozenFeatures:
    """Features of the frozen backbone, which a training and the baseline share.

    Args:
        cfg (Config): The config. Without ``cached_features``, as where the whole
            network is trained, there is one random view of each image.
        seed (int): Seed of that view.
        device (str, optional): Where to compute. Defaults to None: what MMEngine finds.
    """

    def __init__(self, cfg: Config, seed: int, device: str | None = None):
        if cfg.get('cached_features') is None:
            folder = str(Path(cfg.work_dir).parent / 'features')
            declared = CachedFeatures(num_views=1, dir=folder, seed=seed)
        else:
            declared = CachedFeatures.from_config(cfg)
        self.extraction = FeatureExtraction(
            base_config(cfg),
            declared.num_views,
            seed=declared.seed,
            engine=declared.engine,
            device=device,
        )
        # As the training does, which would compute them again otherwise.
        folder_of = partial(declared.folder, cfg.work_dir)
        self.extraction.choose_engine(folder_of)
        self.folder = Path(folder_of(self.extraction.fingerprint))

    @property
    def backbone(self) -> nn.Module:
        """nn.Module: The backbone."""
        return self.extraction.backbone

    def compute(self, console: Console) -> None:
        """Compute those that are missing, with a line of progress now and then."""
        start = shown = time.monotonic()
        quarter = 0

        def report(done: int, number: int) -> None:
            nonlocal start, shown, quarter
            now = time.monotonic()
            reached = 4 * done // number
            if reached < quarter:
                # The images of the next part.
                start, quarter = now, 0
                return
            if reached > quarter and done < number and now - shown >= PATIENCE:
                shown, quarter = now, reached
                left = (now - start) / done * (number - done)
                console.line(
                    f'  features of {done:,} of {number:,} images, '
                    f'{duration(left)} left'
                )

        self.extraction.run(self.folder, report)

    def pooled(self) -> Tensor:
        """Pooled features ``(N, C)`` of the training images, by the test pipeline."""
        stored = np.load(self.folder / 'tune.npy', mmap_mode='r')
        return torch.cat(
            [
                pool(torch.from_numpy(np.array(stored[start : start + 256, 0])))
                for start in range(0, len(stored), 256)
            ]
        )


def train(
    cfg: Config, console: Console, resume: bool, device: str | None = None
) -> None:
    """Train the steps of a config that are not finished."""
    cfg.resume = resume
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        try:
            FitRunner(cfg, console, device).train()
        except FinishedError:
            # A resumed fit whose training is complete.
            console.line('  both steps are finished')


def take_model(cfg: Config, path: Path) -> None:
    """Copy the final checkpoint to a path."""
    last = Path(cfg.work_dir, step_names(cfg)[-1])
    filled = last / 'neighbours.pth'
    newest = str(filled) if filled.is_file() else find_last_checkpoint(str(last))
    if newest is None:
        raise FileNotFoundError(f"The training has left no checkpoint in '{last}'.")
    part = path.with_name(f'{path.name}.part')
    shutil.copyfile(newest, part)
    part.replace(path)


def read_curves(cfg: Config) -> list[dict]:
    """What the training has logged, in its order: losses and validations."""
    return [
        row
        for name in step_names(cfg)
        for row in read_scalars(Path(cfg.work_dir, name), name)
    ]
