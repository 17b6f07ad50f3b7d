# SPDX-License-Identifier: Apache-2.0
"""During a training, draw where the network looks in images of the validation set."""

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ..engine import unwrap_model
from .attention import attention_neck
from .split_images import even_indices


@HOOKS.register_module()
class AttentionImagesHook(Hook):
    """After each validation, give the visualizer a picture of the same images.

    The picture is that of ``mlcl attention``: each image beside the attention of each
    label that was found or missed, with its score. All backends of the visualizer get
    it, such as TensorBoard; ``LocalVisBackend`` writes it to ``vis_data/vis_image``. It
    shows the weights that were validated: those of the EMA, if there is one.

    The training is the same to the bit with and without this hook. In a run of several
    processes the first one draws.

    Args:
        num_images (int): Number of images, taken from the validation set at even
            distances. Defaults to 4.
        max_labels (int): The greatest number of labels of an image. Defaults to 6.
        thr (float): Score from which on a label is found. Defaults to 0.5.
        name (str): What the picture is called. Defaults to ``'attention'``.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: At the start of a training, if there is no validation, the model has
            no attention of labels, or the validation data are no images.
    """

    # Before EMAHook, which puts the trained weights back after a validation.
    priority = 'HIGH'

    def __init__(
        self,
        num_images: int = 4,
        max_labels: int = 6,
        thr: float = 0.5,
        name: str = 'attention',
    ) -> None:
        for key, value in (('num_images', num_images), ('max_labels', max_labels)):
            if value < 1:
                raise ValueError(f'{key} must be 1 or more, got {value}.')
        self.num_images = num_images
        self.max_labels = max_labels
        self.thr = thr
        self.name = name
        self._items: list[dict] = []

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Read the images, which stay the same."""
        # Its absence is noticed here, not after the first epoch.
        import matplotlib  # noqa: F401

        attention_neck(unwrap_model(runner.model))
        if runner.val_loop is None:
            raise ValueError(
                'AttentionImagesHook draws images of the validation set, but there is '
                'no val_dataloader.'
            )
        dataset = runner.val_loop.dataloader.dataset
        indices = even_indices(len(dataset), self.num_images)
        self._items = [dataset[index] for index in indices]
        for item in self._items:
            inputs = item['inputs']
            if not (
                isinstance(inputs, torch.Tensor)
                and inputs.ndim == 3
                and inputs.shape[0] in (1, 3)
            ):
                got = getattr(inputs, 'shape', type(inputs).__name__)
                raise ValueError(
                    'AttentionImagesHook needs images (3, H, W) in the validation set, '
                    f'got {tuple(got) if isinstance(got, torch.Size) else got}. Leave '
                    'out the hook where a config trains on cached_features.'
                )

    @master_only
    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Draw the images."""
        # A validation outside of a training.
        if not self._items:
            return
        # Imports matplotlib.
        from ..reports.figures import to_pixels
        from ..visualization import prediction_sheet
        from .attention_sheet import attend_items

        loop = runner.val_loop
        classes = (loop.evaluator.dataset_meta or {}).get('classes')
        attended = attend_items(
            unwrap_model(runner.model),
            self._items,
            classes,
            len(loop.dataloader.dataset),
        )
        figure = prediction_sheet(
            attended.images,
            attended.scores,
            attended.maps,
            attended.targets,
            attended.classes,
            thr=self.thr,
            max_labels=self.max_labels,
        )
        # The number that the logger gives to the values of this validation.
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        step = runner.epoch if by_epoch else runner.iter
        runner.visualizer.add_image(self.name, to_pixels(figure), step)
