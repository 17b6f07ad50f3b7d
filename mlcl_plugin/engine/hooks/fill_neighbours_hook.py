# SPDX-License-Identifier: Apache-2.0
"""Fill the memories of neighbours at the end of a training."""

import copy
import os.path as osp
import shlex
from collections.abc import Iterator
from contextlib import nullcontext

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmpretrain.registry import HOOKS
from torch import nn

from ...models.classifiers import NeighbourClassifier
from ..neighbour_filling import fill_neighbours, save_filled
from ..split_dataset import pipeline_of_test
from ..unwrap import unwrap_model
from .stored_backbone_hook import StoredBackboneHook


@HOOKS.register_module()
class FillNeighboursHook(Hook):
    """Fill the memories of a :class:`NeighbourClassifier` when training has ended.

    It embeds the training images by the test pipeline, with the averaged weights if an
    ``EMAHook`` keeps any, fills the memories and writes a checkpoint with them into the
    folder of the run (or of the step), and its config beside it.
    ``mlcl_plugin.apis.fit_neighbours`` does the same for a model that is already
    trained.

    Training itself starts with empty memories, also if the weights to start from have
    them: embeddings change.

    Args:
        filename (str): Name of the checkpoint. Defaults to ``'neighbours.pth'``.

    Raises:
        ValueError: When training starts, if the model is no NeighbourClassifier, or the
            config has no test pipeline.
    """

    # after the hooks that save checkpoints
    priority = 'LOWEST'

    def __init__(self, filename: str = 'neighbours.pth'):
        self.filename = filename

    def before_train(self, runner) -> None:
        """Check model and config, and empty the memories."""
        # Otherwise the error would come after the whole training.
        pipeline_of_test(runner.cfg)
        for model in _models(runner):
            for memory in model.memories:
                memory.clear()

    def after_train(self, runner) -> None:
        """Fill the memories and write the checkpoint."""
        # The last one has the weights that checkpoints hold.
        *others, model = _models(runner)
        fill_neighbours(model, runner.cfg)
        for other in others:
            other.neighbours.load_state_dict(model.neighbours.state_dict())
        if is_main_process():
            path = osp.join(runner.work_dir, self.filename)
            stored = [h for h in runner.hooks if isinstance(h, StoredBackboneHook)]
            recipe = copy.deepcopy(stored[0].recipe if stored else runner.cfg)
            # Where the training started says nothing about the filled model.
            recipe.load_from, recipe.resume = None, False
            meta = dict(
                dataset_meta=runner.train_dataloader.dataset.metainfo,
                cfg=recipe.pretty_text,
                epoch=runner.epoch,
                iter=runner.iter,
                seed=runner.seed,
                experiment_name=runner.experiment_name,
            )
            with stored[0].whole(model) if stored else nullcontext():
                save_filled(model, path, meta)
            config = f'{osp.splitext(path)[0]}.py'
            recipe.dump(config)
            print_log(
                f'Wrote the model with its neighbours to {path}. Score it: mlcl test '
                + shlex.join([config, path]),
                'current',
            )
        # All processes see it.
        barrier()


def _models(runner) -> Iterator[NeighbourClassifier]:
    """The model of a run and then the averages of it."""
    yield _checked(unwrap_model(runner.model))
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            yield _checked(hook.ema_model.module)


def _checked(model: nn.Module) -> NeighbourClassifier:
    if not isinstance(model, NeighbourClassifier):
        raise ValueError(
            'FillNeighboursHook fills the memories of a NeighbourClassifier, but the '
            f'model is {type(model).__name__}. Set '
            "model.type='NeighbourClassifier', or take the hook out of custom_hooks."
        )
    return model
