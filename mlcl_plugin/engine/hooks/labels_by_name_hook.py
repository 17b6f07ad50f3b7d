# SPDX-License-Identifier: Apache-2.0
"""Start a training from a model that was trained on other labels."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

from ...errors import OtherLabelsError
from ...label_names import dataset_labels, labels_of_meta
from ...models.utils.training_only import is_part
from ..checkpoint_fit import check_values, weights_of
from ..label_axes import label_axes, restarted_parts
from ..label_matching import LabelMatch, move_labels
from ..unwrap import unwrap_model
from .checkpoint_check_hook import CheckpointCheckHook


@HOOKS.register_module()
class LabelsByNameHook(Hook):
    """Keep the labels that a checkpoint and the training data both name.

    With it a training may start (``load_from``) from a checkpoint whose labels are
    fewer, more, or in another order. Of each weight with a place per label

    - a label of both takes its values to its new place;
    - a new label has the initial values of the model;
    - a label that the data set does not have is left out.

    Memories and averages of weights inside the model start anew, since they hold what
    other weights made of images with other labels. All other weights must be in the
    checkpoint, except those that only training needs
    (:class:`~mlcl_plugin.models.utils.TrainingOnlyParts`). The training starts from the
    weights that the checkpoint would be used with, which are the averaged ones of an
    ``EMAHook``; an ``EMAHook`` of this run starts from the same.

    If the labels are equal, and in a resume, it does nothing. So a run with it is
    resumed as any other, and its second step starts from the first one as usual.

    Args:
        classes (Sequence[str], optional): The labels of the checkpoint in their order,
            for a file that does not name them or has other names for the same labels.
            Not used for a file that names the labels of the data set, as that of a
            first step does. Defaults to None: those in the file.

    Raises:
        OtherLabelsError: If no names are known, none is common, or one occurs twice.
        CheckpointError: If a weight is missing, or has another shape than the model's
            with the number of labels of the checkpoint.
        ValueError: If ``classes`` is a text or empty; later, if labels share queries in
            groups, or a weight has more than one axis that depends on the labels.
    """

    # before the checks of other hooks
    priority = 'HIGHEST'

    def __init__(self, classes: Sequence[str] | None = None):
        if classes is not None and (isinstance(classes, str) or not classes):
            raise ValueError(
                'classes of LabelsByNameHook must be a list of the names of labels, '
                f'got {classes!r}.'
            )
        self.classes = classes

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Bring the weights of a checkpoint into the order of the data set's labels."""
        if runner._resume or not isinstance(runner._train_loop, BaseLoop):
            return
        path = str(runner._load_from)
        model = unwrap_model(runner.model)
        state = weights_of(checkpoint, path)
        meta = checkpoint.get('meta') or {}
        wanted = dataset_labels(runner._train_loop.dataloader.dataset)
        if not wanted:
            raise OtherLabelsError(
                'LabelsByNameHook compares labels by name, but the training data set '
                'does not name them. Set classes=[...] of its dataset.'
            )
        wanted = tuple(map(str, wanted))
        found = labels_of_meta(meta)
        if found == wanted:
            if self.classes is not None and tuple(map(str, self.classes)) != found:
                print_log(
                    f'classes of LabelsByNameHook is not used: {path} names the labels '
                    'of the data set.',
                    'current',
                )
            return
        names = found if self.classes is None else self.classes
        if names is None:
            raise OtherLabelsError(
                f'{path} does not name its labels. Tell them in their order, by '
                "dict(type='LabelsByNameHook', classes=[...]) in custom_hooks."
            )
        match = LabelMatch.of(names, wanted, path)
        check_values(model, state, path)
        own = model.state_dict()
        axes = label_axes(model, runner.cfg.model, len(wanted))
        move_labels(state, own, axes, match)
        restarted = restarted_parts(model)
        for name in list(state):
            if any(is_part(name, part) for part in restarted):
                del state[name]
        for name, value in own.items():
            # The copy of an EMA hook is older than the initial values of the model.
            if any(is_part(name, part) for part in restarted):
                state[name] = value.clone()
        # What an average holds beside the weights belongs to the other labels.
        checkpoint.pop('ema_state_dict', None)
        checkpoint['meta'] = dict(
            meta, dataset_meta=dict(meta.get('dataset_meta') or {}, classes=wanted)
        )
        CheckpointCheckHook(training_parts=True).after_load_checkpoint(
            runner, checkpoint
        )
        print_log(f'Of {path}, {match}.', 'current')
