# SPDX-License-Identifier: Apache-2.0
"""Make the checkpoints of a training on stored features complete."""

from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...errors import CheckpointError

PREFIX = 'backbone.'


class StoredBackboneHook(Hook):
    """Add the frozen backbone to the checkpoints of a training on its features.

    The model of the training has no backbone. With this hook its checkpoints are those
    of the whole model, for the recipe of images.

    Args:
        weights (Mapping[str, Tensor]): The weights of the backbone.
        recipe (Config): The config of the whole model.
    """

    # After the EMA hook, which changes what is saved.
    priority = 'VERY_LOW'

    def __init__(self, weights: Mapping[str, torch.Tensor], recipe: Config):
        self.weights = {PREFIX + name: value for name, value in weights.items()}
        self.recipe = recipe

    def complete(self, checkpoint: dict) -> None:
        """Add backbone and recipe to the content of a checkpoint, in place."""
        checkpoint['state_dict'].update(self.weights)
        checkpoint['meta']['cfg'] = self.recipe.pretty_text

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Complete a checkpoint."""
        self.complete(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the backbone out of a checkpoint.

        Raises:
            CheckpointError: If it is another one than that of the features.
        """
        state = checkpoint.get('state_dict', checkpoint)
        for name in [name for name in state if str(name).startswith(PREFIX)]:
            value, own = state.pop(name), self.weights.get(name)
            if own is None or not torch.equal(value.cpu(), own.cpu()):
                raise CheckpointError(
                    f'{runner._load_from} has another backbone than the cached '
                    f"features: its weight '{name}' differs. Start from a checkpoint "
                    'of this run, or in a new work_dir.'
                )
