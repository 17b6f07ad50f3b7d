# SPDX-License-Identifier: Apache-2.0
"""Train in turns on the given labels and on those that a copy of the model finds."""

import copy
import logging
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner.checkpoint import weights_to_cpu
from mmpretrain.models import BaseClassifier, ImageClassifier
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import nn

from ...models.utils.targets import collect_targets
from ...targets import is_present
from ..batch_statistics import average_statistics
from ..unwrap import unwrap_model

KEY = 'mile_teacher'
"""Key of the teacher in checkpoints from the middle of a student phase."""


@HOOKS.register_module()
class MILeHook(Hook):
    r"""Train in turns on the given labels and on those of a frozen copy.

    For ``teacher_iters`` iterations the model learns from the targets of the batch.
    Then a copy of it, the teacher, is frozen, and for ``student_iters`` iterations the
    model learns from what the teacher finds in the images of the batch:

    .. math::
        t_{bl} = [\sigma(f_T(x_b)_l) > \rho]

    After that the next teacher phase starts from the student. The student phase finds
    labels that the data miss, and the phases are short so that the model does not
    memorise wrong ones. A label whose ``gt_score`` is -1 (unknown) takes no part in the
    teacher phase; in the student phase every label has a target. The teacher needs
    absent labels, too: where only present ones are known, as with one label per image,
    take the others as absent (``unknown_as=0`` of :class:`HideLabels`). The method is
    made for this case.

    Source: `MILe <https://arxiv.org/abs/2111.12173>`_ (CVPR 2022), in the form of its
    official code: one network and one optimizer throughout. That code sums the losses
    of the labels and does not average them; ``loss_reduction='batch'`` of the head does
    the same, and learning rates do not carry over otherwise. Its settings for ImageNet
    are 2,000 iterations in each phase and a threshold of 0.5. Deviations:

    - The teacher sees the images as they come from the pipeline, in evaluation mode.
      With several processes its statistics of batch norm are the mean over the
      processes, so that all of them have the same teacher.
    - All views of an image have the same targets, from the mean of the views' scores.
    - Options that the official code has switched off are left out: drawing the
      targets at random, smoothing them, an entropy term, noise for the student.

    Costs during a student phase: one more copy of the weights and buffers (no
    gradients, no state of the optimizer), and one more forward pass per iteration,
    which keeps no activations. A checkpoint from inside a student phase holds the
    teacher too, and a run that resumes from it gives the same result as one without
    interruption. The teacher is a copy of the trained weights, not of their average by
    an ``EMAHook``.

    Phases are counted in iterations of the training loop, from the first one on; in a
    config in steps, each step counts by itself.

    Args:
        teacher_iters (int): Length of a teacher phase. Defaults to 2000.
        student_iters (int): Length of a student phase. Defaults to 2000.
        thr (float): Score above which a label is present for the teacher
            (:math:`\rho`). Defaults to 0.5.
        with_ground_truth (bool): In the student phase, also keep the labels that the
            data say are present. Defaults to False.
        views (str): The scores of an image with several views: the 'mean' over all of
            them, or those of the 'first', the only one that the teacher sees then.
            Defaults to 'mean'.

    Raises:
        ValueError: If an option has a value outside its range; at the start of a
            training, if the model has no head with ``num_classes``, its data
            preprocessor mixes images, or the checkpoint that the run resumes from does
            not hold the teacher of the phase.

    Examples:
        One present label of each image is known, as in a data set for classification
        into one class.

        >>> train_dataloader = dict(
        ...     dataset=dict(
        ...         type='HideLabels',
        ...         mode='single_positive',
        ...         unknown_as=0,
        ...         dataset=dict(type='CocoMultiLabel')))
        >>> model = dict(head=dict(loss_reduction='batch'))
        >>> custom_hooks = [dict(type='MILeHook', teacher_iters=2000)]
    """

    def __init__(
        self,
        teacher_iters: int = 2000,
        student_iters: int = 2000,
        thr: float = 0.5,
        with_ground_truth: bool = False,
        views: str = 'mean',
    ):
        for name, value in (
            ('teacher_iters', teacher_iters),
            ('student_iters', student_iters),
        ):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be an int of 1 or more, got {value}.')
        if not 0 < thr < 1:
            raise ValueError(f'thr must lie between 0 and 1, got {thr}.')
        if views not in ('mean', 'first'):
            raise ValueError(f"views must be 'mean' or 'first', got {views!r}.")
        self.teacher_iters = teacher_iters
        self.student_iters = student_iters
        self.thr = thr
        self.with_ground_truth = with_ground_truth
        self.views = views
        self.teacher: ImageClassifier | None = None
        self.taken_at: int | None = None

    def copied_at(self, iteration: int) -> int | None:
        """When the teacher of an iteration is copied.

        Args:
            iteration (int): Number of iterations that have been trained before.

        Returns:
            int | None: The first iteration of the student phase; None in a teacher
            phase.
        """
        position = iteration % (self.teacher_iters + self.student_iters)
        if position < self.teacher_iters:
            return None
        return iteration - position + self.teacher_iters

    def before_train(self, runner) -> None:
        """Check model and checkpoint before the first iteration."""
        model = unwrap_model(runner.model)
        classifier = isinstance(model, BaseClassifier) and model.with_head
        head = model.head if classifier else None
        # MMPretrain's heads have no common class with this attribute.
        if getattr(head, 'num_classes', None) is None:
            raise ValueError(
                'MILeHook gives the head a target for each of its num_classes labels, '
                f'got {type(model).__name__} with the head {type(head).__name__}, '
                'which does not have num_classes. Use one of this project, or '
                'MultiLabelLinearClsHead.'
            )
        if getattr(model.data_preprocessor, 'batch_augments', None) is not None:
            raise ValueError(
                'MILeHook labels the images of a batch, but batch_augments of the data '
                'preprocessor mixes them afterwards. Train without batch_augments '
                '(Mixup, CutMix).'
            )
        start = self.copied_at(runner.iter)
        if start not in (None, runner.iter) and self.taken_at != start:
            raise ValueError(
                f'Iteration {runner.iter} lies in the student phase that begins at '
                f'{start}, but the checkpoint to resume from holds '
                + (
                    'no teacher'
                    if self.taken_at is None
                    else f'the teacher of iteration {self.taken_at}'
                )
                + '. Resume with the teacher_iters and student_iters of the '
                'interrupted run, or start from its weights (load_from without resume).'
            )
        if runner.max_iters <= self.teacher_iters:
            print_log(
                f'MILeHook has no effect: the training ends after {runner.max_iters} '
                'iterations, and the first student phase begins after '
                f'teacher_iters={self.teacher_iters}.',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """In a student phase, replace the labels of the batch by the teacher's."""
        start = self.copied_at(runner.iter)
        if start is None:
            # A teacher phase needs no copy: free its memory.
            self.teacher = self.taken_at = None
            return
        if start == runner.iter:
            teacher = _freeze(runner.model)
            self.teacher, self.taken_at = teacher, start
            average_statistics([teacher])
            runner.logger.info(
                f'MILe: iterations {start} to {start + self.student_iters - 1} learn '
                'from a copy of the model as it is now.'
            )
        if not isinstance(data_batch, dict) or 'data_samples' not in data_batch:
            raise ValueError(
                'MILeHook expects batches with inputs and data_samples, got '
                f'{type(data_batch).__name__}. Let the pipeline end with PackInputs.'
            )
        # The dict is new in each iteration; the samples may belong to the dataset.
        data_batch['data_samples'] = self._label(runner, self.teacher, data_batch)

    @torch.no_grad()
    def _label(self, runner, teacher: Any, data_batch: dict) -> list[DataSample]:
        """Copies of a batch's samples, with the labels that the teacher finds."""
        samples = data_batch['data_samples']
        num_classes = teacher.head.num_classes
        # With autocast if the model is trained with it.
        with runner.optim_wrapper.optim_context(teacher):
            inputs = teacher.data_preprocessor(
                dict(inputs=data_batch['inputs']), False
            )['inputs']
            # View by view: row v * B + b is view v of image b.
            if len(inputs) % len(samples):
                raise ValueError(
                    f'Got {len(inputs)} images for {len(samples)} data samples, '
                    'expected as many, or a multiple of them with several views.'
                )
            if self.views == 'first':
                inputs = inputs[: len(samples)]
            predictions = teacher.predict(inputs)
        scores = (
            torch.stack([x.pred_score for x in predictions])
            .unflatten(0, (-1, len(samples)))
            .mean(dim=0)
        )
        if scores.size(1) != num_classes:
            raise ValueError(
                f'{type(teacher.head).__name__} predicts {scores.size(1)} scores '
                f'per image, expected one for each of its num_classes={num_classes}.'
            )
        targets = scores > self.thr
        if self.with_ground_truth:
            given = collect_targets(samples, num_classes, scores.device)
            targets |= is_present(given)
        labelled = []
        for sample, row in zip(samples, targets.float()):
            sample = sample.clone()
            # gt_label would contradict the new gt_score.
            sample.pop('gt_label', None)
            labelled.append(sample.set_gt_score(row))
        return labelled

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the teacher if the next iteration learns from it."""
        iteration = checkpoint['meta']['iter']
        start = self.copied_at(iteration)
        needed = start not in (None, iteration) and self.taken_at == start
        if needed and self.teacher is not None:
            checkpoint[KEY] = dict(
                iter=start, state_dict=weights_to_cpu(self.teacher.state_dict())
            )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Load the teacher of the run that is resumed."""
        saved = checkpoint.pop(KEY, None)
        if saved is None or not runner._resume:
            return
        teacher = _freeze(runner.model)
        teacher.load_state_dict(saved['state_dict'])
        self.teacher, self.taken_at = teacher, saved['iter']


def _freeze(model: nn.Module) -> ImageClassifier:
    """A copy in evaluation mode, without gradient."""
    return copy.deepcopy(unwrap_model(model)).eval().requires_grad_(False)
