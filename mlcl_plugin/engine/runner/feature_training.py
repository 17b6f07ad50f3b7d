# SPDX-License-Identifier: Apache-2.0
"""Train on features of a frozen backbone that are computed once."""

import os.path as osp
from copy import deepcopy
from functools import partial

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from ..cached_features import CachedFeatures, FeatureExtraction, freeze_backbone
from ..dist import init_distributed
from ..hooks import StoredBackboneHook
from ..last_checkpoint import find_last_checkpoint
from ..lost_processes import named_losses
from ..steps import base_config
from .checked_runner import CheckedRunner
from .plain_runner import WithPlainRunner


class FeatureTraining:
    """The runners of a training on cached features.

    The features are computed when the first runner is made, with the backbone of the
    checkpoint that it starts from, or else with the weights that the config names. Its
    checkpoints have backbone, neck and head, as if the model had been trained on
    images.

    Args:
        cfg (Config): A config with ``cached_features``, with steps or without.
        stored (tuple[str, nn.Module], optional): A folder of features and the backbone
            that made them. Defaults to None: they are computed.
        device (str, optional): Where to compute them. Defaults to None: what MMEngine
            finds.
        val_split (str): See :func:`freeze_backbone`. With ``'tune'`` no features of
            validation images are computed. Defaults to ``'val'``.

    Raises:
        ValueError: See :meth:`CachedFeatures.from_config`.
    """

    def __init__(
        self,
        cfg: Config,
        stored: tuple[str, torch.nn.Module] | None = None,
        device: str | None = None,
        val_split: str = 'val',
    ):
        self.cfg = cfg
        self.declared = CachedFeatures.from_config(cfg)
        self._stored = stored
        self.device = device
        self.val_split = val_split

    def make_runner(self, cfg: Config) -> CheckedRunner:
        """Make the runner that trains a plain config on features.

        Args:
            cfg (Config): The config without steps, or of a step.

        Returns:
            CheckedRunner: Its model has no backbone; its checkpoints have one.
        """
        recipe = base_config(cfg)
        recipe.pop('cached_features', None)
        recipe.load_from, recipe.resume = None, False
        if self._stored is None:
            self._stored = self._compute(cfg)
        folder, backbone = self._stored
        frozen = freeze_backbone(recipe, folder, val_split=self.val_split)
        frozen.load_from, frozen.resume = cfg.get('load_from'), cfg.get('resume', False)
        runner = CheckedRunner.from_cfg(frozen)
        runner.register_hook(StoredBackboneHook(backbone, recipe))
        return runner

    def _compute(self, cfg: Config) -> tuple[str, torch.nn.Module]:
        """Compute the features that are missing; their folder and their backbone."""
        checkpoint = cfg.get('load_from')
        if checkpoint is None and cfg.get('resume'):
            checkpoint = find_last_checkpoint(cfg.work_dir)
        recipe = base_config(self.cfg)
        if self.val_split != 'val':
            recipe.val_dataloader = None
        extraction = FeatureExtraction(
            recipe,
            self.declared.num_views,
            checkpoint,
            self.declared.seed,
            self.declared.engine,
            self.device,
        )
        extraction.choose_engine(partial(self.declared.folder, self.cfg.work_dir))
        folder = self.declared.folder(self.cfg.work_dir, extraction.fingerprint)
        extraction.run(folder)
        print_log(f'Training on the features of {osp.relpath(folder)}', 'current')
        return folder, extraction.backbone.cpu()


class CachedFeaturesRunner(WithPlainRunner):
    """Train a config without steps on cached features; do the rest on images.

    Args:
        cfg (Config): A config with ``cached_features``.
    """

    def __init__(self, cfg: Config):
        self.cfg = deepcopy(cfg)

    def train(self) -> torch.nn.Module:
        """Compute the features that are missing, and train on them.

        Returns:
            nn.Module: The model without its backbone.

        Raises:
            LostProcessError: If another process of the run does not answer.
            ValueError: See :meth:`CachedFeatures.from_config`.
        """
        training = FeatureTraining(self.cfg)
        init_distributed(self.cfg)
        with named_losses():
            return training.make_runner(self.cfg).train()
