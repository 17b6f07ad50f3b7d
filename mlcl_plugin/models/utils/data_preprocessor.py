# SPDX-License-Identifier: Apache-2.0
"""Join the views of a batch into one batch."""

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS

from ...targets import is_known


@MODELS.register_module()
class MultiViewDataPreprocessor(ClsDataPreprocessor):
    """MMPretrain's preprocessor for classification, also for several views.

    MMPretrain's ``MultiView`` transform gives V views of every image. Here they
    are joined on the batch axis, view by view: row ``v * B + b`` is view v of
    image b. The data samples are repeated in the same order: what follows gets a
    batch of ``V * B`` labelled images, with ``image_number`` b in their samples. Input
    of one view, at training or test time, is treated as in
    :class:`ClsDataPreprocessor`.

    Args:
        num_views (int, optional): The number of views that training input must
            have; another number is an error. None accepts any.
            Defaults to None.
        channels_last (bool): Return the images in channels-last memory format, in
            which convolutions on a CPU or with AMP on a GPU are faster.
            Results are equal up to rounding. Defaults to False.
        **kwargs: Of :class:`mmpretrain.models.ClsDataPreprocessor` (``mean``,
            ``std``, ``to_rgb``, ``batch_augments``, ...).

    Raises:
        ValueError: If ``num_views`` is not positive; later, if views are of
            different number or size than expected, or batch augmentation meets
            an unknown target.
    """

    def __init__(
        self, num_views: int | None = None, channels_last: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        if num_views is not None and num_views < 1:
            raise ValueError(f'num_views must be positive, got {num_views}.')
        self.num_views = num_views
        self.channels_last = channels_last

    def forward(self, data: dict, training: bool = False) -> dict:
        """Join views, then preprocess as MMPretrain does.

        Args:
            data (dict): ``inputs``, a tensor ``(B, 3, H, W)`` or a list of V
                such tensors, or as ``pseudo_collate`` leaves them, a list of B
                images or V lists of B images; ``data_samples``, B samples.
            training (bool): Whether this is a training batch. Defaults to False.

        Returns:
            dict: ``inputs`` ``(V * B, 3, H, W)`` and V * B ``data_samples``.

        Raises:
            ValueError: If the views differ in batch or image size, their
                number is not ``num_views``, or batch augmentation would mix a
                target of -1 (unknown).
        """
        if training and self.batch_augments is not None:
            self._check_targets_are_known(data.get('data_samples'))
        views = self._split_views(data['inputs'])
        num_views = len(views)
        if training and self.num_views is not None and num_views != self.num_views:
            raise ValueError(
                f'Expected num_views={self.num_views} views of every image, got '
                f'{num_views}. Set num_views of the MultiView transform and of the '
                'data preprocessor to the same number.'
            )
        if num_views > 1:
            shapes = [tuple(view.shape) for view in views]
            if len(set(shapes)) > 1:
                raise ValueError(
                    f'All views must have the same shape, got {shapes}. Let every '
                    'view of the MultiView transform end with the same size.'
                )
            samples = data.get('data_samples')
            if samples is not None:
                for number, sample in enumerate(samples):
                    sample.set_metainfo(dict(image_number=number))
                # Copies, since preprocessing writes targets into each of them.
                samples = list(samples) + [
                    sample.clone() for _ in views[1:] for sample in samples
                ]
            # Autocast of a CPU does not support float16, the type of stored features.
            with torch.autocast(views[0].device.type, enabled=False):
                inputs = torch.cat(list(views))
            data = dict(data, inputs=inputs, data_samples=samples)
        else:
            # MultiView with one view leaves a list of one batch.
            data = dict(data, inputs=views[0])
        data = super().forward(data, training)
        if self.channels_last:
            data['inputs'] = data['inputs'].contiguous(
                memory_format=torch.channels_last
            )
        return data

    @staticmethod
    def _check_targets_are_known(data_samples) -> None:
        """Refuse unknown targets, since -1 mixed with 1 may look like a target."""
        for sample in data_samples or ():
            score = sample.get('gt_score')
            if score is not None and not is_known(score).all():
                raise ValueError(
                    'batch_augments cannot mix unknown targets, got gt_score '
                    f'{score.tolist()} (image {sample.get("img_path")}). Train '
                    'without batch_augments, or turn -1 into 0 in the pipeline.'
                )

    @staticmethod
    def _split_views(inputs) -> list:
        """A list with one entry per view, whatever collated the batch."""
        if isinstance(inputs, torch.Tensor):
            return [inputs]
        first = inputs[0]
        if isinstance(first, torch.Tensor):
            # (B, C, H, W) each: views. (C, H, W) each: images of one view.
            return list(inputs) if first.ndim == 4 else [inputs]
        # MMEngine's pseudo_collate turns B lists of V images into V lists of B.
        shapes = sorted({tuple(image.shape) for view in inputs for image in view})
        if len(shapes) > 1:
            raise ValueError(
                f'All views must have the same shape, got {shapes}. Let every view '
                'of the MultiView transform end with the same size.'
            )
        return [torch.stack(list(view)) for view in inputs]
