# SPDX-License-Identifier: Apache-2.0
"""Hold the model against the datasets before any work is done."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Check datasets against the model before training or testing starts.

    A dataset without images, or one whose number of classes disagrees with
    ``num_classes`` of the model's neck or head, stops the run with a clear
    error before the first iteration, and so does a validation set whose classes have
    other names, or another order, than those of the training set: its labels would be
    compared with the scores of others.
    """

    def before_train(self, runner) -> None:
        """Check the training set and, where there is one, the validation set."""
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
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        if classes is None:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # A test-time augmentation wrapper keeps the classifier in `module`.
        model = getattr(model, 'module', model)
        for part in ('neck', 'head'):
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
        """Hold the classes of the validation set against those of training."""
        names = {
            split: getattr(loader.dataset, 'metainfo', {}).get('classes')
            for split, loader in (
                ('training', runner.train_dataloader),
                ('validation', runner.val_dataloader),
            )
        }
        if None in names.values():
            return
        # Of the same number, as was checked.
        for label, (train, val) in enumerate(zip(*names.values())):
            if train != val:
                raise ValueError(
                    f"Label {label} is '{train}' in the training dataset and '{val}' "
                    'in the validation dataset. Give both the same classes in the same '
                    'order, for example by `classes` of the datasets.'
                )
