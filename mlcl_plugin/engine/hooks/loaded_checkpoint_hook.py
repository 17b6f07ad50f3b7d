# SPDX-License-Identifier: Apache-2.0
"""Check every checkpoint that a runner loads."""

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

from ...errors import CheckpointError
from ...label_names import (
    check_labels,
    dataset_labels,
    describe_difference,
    labels_of_meta,
)
from ..checkpoint_content import flatten, non_finite
from ..checkpoint_fit import PREFIX, check_some_fit, check_values, fit_checkpoint
from ..last_checkpoint import NEEDED
from ..pretrained_init import labels_of_pretrained
from ..unwrap import unwrap_model

MEND = (
    "To start with what it knows of labels of the same name, add dict(type='"
    "LabelsByNameHook') to custom_hooks."
)


@HOOKS.register_module()
class LoadedCheckpointHook(Hook):
    """Check weights and labels of each checkpoint that a runner loads.

    - Weights must be finite tensors of real numbers where the model has real numbers.
    - A checkpoint to resume must have all weights of the model, and its other parts
      must have the right form. One to start from (``load_from``) must have at least one
      weight. :class:`CheckpointCheckHook` asks for all.
    - If the checkpoint names its labels, they must be those of the data set in the same
      order. A training may start from weights of another number of labels, since its
      classifier starts anew then. The config field ``allow_other_labels=True`` turns
      the error into a warning. :class:`LabelsByNameHook` keeps the labels that both
      name.

    Weights of a classifier, its neck or head that the config names as ``init_cfg`` are
    compared in the same way.

    :class:`CheckedRunner` registers it.

    Raises:
        CheckpointError: If the weights cannot be used.
        OtherLabelsError: If the labels differ.
    """

    # before the EMA hook
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Compare the labels of weights that the config names as ``init_cfg``."""
        if runner._has_loaded:
            # They have been replaced.
            return
        model = unwrap_model(runner.model)
        # Foreign models: not each has a backbone.
        for path, labels in labels_of_pretrained(
            model, getattr(model, 'backbone', None)
        ):
            meta = dict(dataset_meta=dict(classes=labels))
            self._compare_labels(runner, dict(meta=meta), path)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check a checkpoint and complete it, see :func:`fit_checkpoint`."""
        path = str(runner._load_from)
        model = unwrap_model(runner.model)
        if runner._resume:
            self._check_parts(checkpoint, path)
        self._compare_labels(runner, checkpoint, path, '' if runner._resume else MEND)
        if not runner._resume:
            check_some_fit(model, checkpoint, path)
            return
        average = checkpoint.get('ema_state_dict')
        if average is not None:
            if not isinstance(average, dict):
                raise CheckpointError(
                    f"{path} cannot be resumed from: its 'ema_state_dict' is a "
                    f'{type(average).__name__}, expected a dict.'
                )
            names = {str(key).removeprefix(PREFIX): v for key, v in average.items()}
            check_values(model, names, path)
        fit_checkpoint(model, checkpoint, path)

    @staticmethod
    def _check_parts(checkpoint: dict, path: str) -> None:
        """Check what a resume needs beside weights.

        Raises:
            CheckpointError: If a part is missing or has another form.
        """
        start = f'{path} cannot be resumed from:'
        missing = [key for key in NEEDED if not isinstance(checkpoint.get(key), dict)]
        if missing:
            raise CheckpointError(
                f'{start} it has no {", ".join(missing)}. Use it as load_from, to '
                'start from its weights.'
            )
        for key in ('epoch', 'iter'):
            value = checkpoint['meta'].get(key)
            number = isinstance(value, (int, np.integer)) and not isinstance(
                value, bool
            )
            if not number or value < 0:
                raise CheckpointError(
                    f'{start} expected the number of its {key}, got {value!r:.100}.'
                )
        if non_finite(flatten('', checkpoint['optimizer'])):
            raise CheckpointError(
                f'{start} the state of its optimizer has values that are nan or '
                'infinite. Use an earlier checkpoint.'
            )

    @staticmethod
    def _compare_labels(
        runner: Runner, checkpoint: dict, path: str, mend: str = ''
    ) -> None:
        training = isinstance(runner._train_loop, BaseLoop)
        loops = (runner._train_loop, runner._test_loop, runner._val_loop)
        loop = next((loop for loop in loops if isinstance(loop, BaseLoop)), None)
        if loop is None:
            return
        expected = dataset_labels(loop.dataloader.dataset)
        meta = checkpoint.get('meta')
        found = labels_of_meta(meta if isinstance(meta, dict) else {})
        if expected is None or found is None:
            who = path if found is None else 'the data set'
            runner.logger.info(
                f'The labels of {path} and the data set cannot be compared: {who} does '
                'not name them.'
            )
            return
        mend = mend if training else ''
        if training and not runner._resume and len(expected) != len(found):
            difference = describe_difference(expected, found, 'in the checkpoint')
            text = f'{path} has other labels than the data: {difference}. {mend}'
            runner.logger.info(text.rstrip())
            return
        check_labels(
            expected,
            found,
            path,
            'the data set',
            allow=runner.cfg.get('allow_other_labels', False),
            mend=mend,
        )
