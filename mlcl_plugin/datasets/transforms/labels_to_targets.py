# SPDX-License-Identifier: Apache-2.0
"""Turn lists of labels into target vectors."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ...targets import list_label_indices, numbers_to_targets, read_target_vector


@TRANSFORMS.register_module()
class LabelsToTargets(BaseTransform):
    """Turn the indices of the present labels into a target vector.

    The vector has 1 for labels in ``gt_label``, -1 (unknown) for labels that are
    only in one of ``unknown_keys`` and 0 (absent) for all others. Losses and
    metrics pass over -1. For PASCAL VOC, whose ``gt_label_difficult`` lists the
    labels of boxes marked as difficult, this gives the official treatment: a
    label with nothing but difficult boxes in an image is not judged there.

    A ``gt_score`` that is there already is checked and left as it is.

    **Required Keys:**

    - gt_label (Sequence[int] | np.ndarray): Indices of the labels present, each
      once. Not needed where ``gt_score`` is given.
    - ``*unknown_keys`` (Sequence[int] | np.ndarray | None, optional): Indices too. A
      label may come more than once, as in a list with one entry per box.

    **Added Keys:**

    - gt_score (np.ndarray): ``(num_classes,)`` float32 in {1, 0, -1}.

    Args:
        num_classes (int): The number of labels L.
        unknown_keys (Sequence[str]): The keys of lists of label indices whose
            presence is not known. A key that is not in the results, or is None
            there, says nothing. Defaults to ``('gt_label_difficult', )``.

    Raises:
        ValueError: If ``num_classes`` or ``unknown_keys`` is of no use, or, for
            an image, if there is no ``gt_label``, an index is no integer or out
            of range, ``gt_label`` names a label twice, as a vector with one entry
            per label does, or a given ``gt_score`` has a wrong length or other values
            than 1, 0 and -1.
    """

    def __init__(
        self, num_classes: int, unknown_keys: Sequence[str] = ('gt_label_difficult',)
    ) -> None:
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(
                f'num_classes must be an int of 1 or more, got {num_classes}.'
            )
        if isinstance(unknown_keys, str):
            raise ValueError(
                f"unknown_keys is the string '{unknown_keys}', expected a sequence: "
                f"('{unknown_keys}', )."
            )
        self.num_classes = num_classes
        self.unknown_keys = tuple(unknown_keys)

    def transform(self, results: dict) -> dict:
        """Add ``gt_score``.

        Args:
            results (dict): Result dict of a dataset.

        Returns:
            dict: ``results`` with ``gt_score``.
        """
        where = f' (image {results["img_path"]})' if results.get('img_path') else ''
        if results.get('gt_score') is not None:
            # As an array first: torch is slow to read a list.
            values = np.asarray(results['gt_score'])
            read_target_vector(values, self.num_classes, where=where)
            return results
        if results.get('gt_label') is None:
            raise ValueError(
                f"There is no 'gt_label'{where}, got the keys {sorted(results)}. Does "
                'the dataset give labels? Leave LabelsToTargets out of pipelines for '
                'images without annotation.'
            )
        present = list_label_indices(results['gt_label'], self.num_classes, where=where)
        unknown = [
            list_label_indices(results[key], self.num_classes, key, where, repeats=True)
            for key in self.unknown_keys
            if results.get(key) is not None
        ]
        results['gt_score'] = numbers_to_targets(present, self.num_classes, unknown)
        return results

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(num_classes={self.num_classes}, '
            f'unknown_keys={self.unknown_keys})'
        )
