# SPDX-License-Identifier: Apache-2.0
"""Make the checkpoints of a training on stored features complete."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ...errors import CheckpointError

PREFIX = 'backbone.'


class StoredBackboneHook(Hook):
    """Add the frozen backbone to the checkpoints of a training on its features.

    The model of the training has no backbone. With this hook its checkpoints are those
    of the whole model, for the recipe of images.

    Args:
        backbone (nn.Module): The backbone.
        recipe (Config): The config of the whole model.
    """

    # After the EMA hook, which changes what is saved.
    priority = 'VERY_LOW'

    def __init__(self, backbone: nn.Module, recipe: Config):
        self.backbone = backbone
        self.recipe = recipe
        self.weights = {
            PREFIX + name: value for name, value in backbone.state_dict().items()
        }

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Give a model of the training the backbone, as long as the context is open."""
        stored = model.backbone
        model.backbone = self.backbone
        try:
            yield
        finally:
            model.backbone = stored

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add backbone and recipe to a checkpoint."""
        checkpoint['state_dict'].update(self.weights)
        checkpoint['meta']['cfg'] = self.recipe.pretty_text

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the backbone out of a checkpoint.

        Weights that the backbone of the features does not have are ignored, as in a
        training on images.

        Raises:
            CheckpointError: If it is another one than that of the features.
        """
        state = checkpoint.get('state_dict', checkpoint)
        names = [name for name in state if str(name).startswith(PREFIX)]
        found = {name: state.pop(name) for name in names}
        for name, own in self.weights.items() if found else ():
            value = found.get(name)
            # Older checkpoints do not count batches.
            if value is None and name.endswith('num_batches_tracked'):
                continue
            # In the precision of the model, which loads it so.
            if value is None or not torch.equal(value.to(own), own):
                raise CheckpointError(
                    f'{runner._load_from} has another backbone than the cached '
                    f"features: its weight '{name}' differs. Start from a checkpoint "
                    'of this run, or in a new work_dir.'
                )
