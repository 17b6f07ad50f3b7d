# SPDX-License-Identifier: Apache-2.0
"""Check the datasets against the model before any work is done."""

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...label_names import check_labels, dataset_labels
from ..unwrap import unwrap_model


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Check datasets against the model before training or testing starts.

    Three faults stop a run with a clear error before the first iteration: a dataset
    without images, a number of classes that differs from ``num_classes`` of the model's
    neck or head, and a validation set whose classes have other names or another order
    than those of the training set, so that its labels would be compared with the scores
    of other classes.

    Raises:
        ValueError: If there is such a fault.
    """

    def before_train(self, runner) -> None:
        """Check the training set and, if there is one, the validation set."""
        self._check(runner, 'train', runner.train_dataloader)
        if runner.val_loop is not None:
            self._check(runner, 'val', runner.val_dataloader)
            self._compare(runner)

    def before_val(self, runner) -> None:
        """Check the validation set."""
        self._check(runner, 'val', runner.val_dataloader)

    def before_test(self, runner) -> None:
        """Check the test set."""
        self._check(runner, 'test', runner.test_dataloader)

    @staticmethod
    def _check(runner, split: str, dataloader) -> None:
        dataset = dataloader.dataset
        if len(dataset) == 0:
            raise ValueError(
                f'The {split} dataset ({type(dataset).__name__}) has no image. Check '
                f'{split}_dataloader.dataset in the config: data_root, annotation '
                'file or image list.'
            )
        classes = dataset_labels(dataset)
        if classes is None:
            return
        model = unwrap_model(runner.model)
        for part in ('neck', 'head'):
            # Foreign models: a classifier of MMPretrain may have no neck, and its necks
            # and some heads have no number of classes.
            num_classes = getattr(getattr(model, part, None), 'num_classes', None)
            if num_classes is not None and num_classes != len(classes):
                raise ValueError(
                    f'model.{part}.num_classes={num_classes}, but the {split} dataset '
                    f'({type(dataset).__name__}) has {len(classes)} classes. Set '
                    'num_classes of neck and head (and of LabelsToTargets in the '
                    f'pipelines) to {len(classes)}.'
                )

    @staticmethod
    def _compare(runner) -> None:
        """Compare the classes of the validation set with those of the training set."""
        train_names = dataset_labels(runner.train_dataloader.dataset)
        val_names = dataset_labels(runner.val_dataloader.dataset)
        if train_names is None or val_names is None:
            return
        check_labels(
            train_names,
            val_names,
            'the validation dataset',
            'the training dataset',
            runner.cfg.get('allow_other_labels', False),
        )
