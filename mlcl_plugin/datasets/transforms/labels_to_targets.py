# SPDX-License-Identifier: Apache-2.0
"""Turn lists of labels into target vectors."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


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

    - gt_label (Sequence[int] | np.ndarray): Indices of the labels present. Not
      needed where ``gt_score`` is given.
    - ``*unknown_keys`` (Sequence[int] | np.ndarray | None, optional)

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
            of range, ``gt_label`` looks like a one-hot vector, or a given
            ``gt_score`` has a wrong length or other values than 1, 0 and -1.
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
            self._check_score(results['gt_score'], where)
            return results
        if results.get('gt_label') is None:
            raise ValueError(
                f"There is no 'gt_label'{where}, got the keys {sorted(results)}. Does "
                'the dataset give labels? Leave LabelsToTargets out of pipelines for '
                'images without annotation.'
            )
        present = self._indices(results['gt_label'], 'gt_label', where)
        if present.size > 2 and present.max() <= 1:
            raise ValueError(
                f'gt_label is {present.tolist()}{where}, which looks like a one-hot '
                'vector. gt_label takes the indices of the labels that are present; '
                'put a vector of 1 / 0 / -1 into gt_score instead.'
            )
        score = np.zeros(self.num_classes, dtype=np.float32)
        for key in self.unknown_keys:
            if results.get(key) is not None:
                score[self._indices(results[key], key, where)] = -1
        # Last: a label seen for sure stays present even if it is listed as unknown.
        score[present] = 1
        results['gt_score'] = score
        return results

    def _indices(self, labels: Sequence[int], key: str, where: str) -> np.ndarray:
        """Check a list of label indices and make it an integer array."""
        indices = np.atleast_1d(np.asarray(labels))
        if indices.size == 0:
            return np.zeros(0, dtype=np.int64)
        if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(
                f'{key} is {labels}{where}, expected a flat list of integers, the '
                'indices of labels.'
            )
        wrong = indices[(indices < 0) | (indices >= self.num_classes)]
        if wrong.size:
            raise ValueError(
                f'{key} holds label {wrong[0]}{where}, expected indices from 0 to '
                f'{self.num_classes - 1} (num_classes={self.num_classes}). Set '
                "num_classes to the number of the dataset's classes."
            )
        return indices

    def _check_score(self, score: Sequence[float], where: str) -> None:
        values = np.asarray(score)
        if values.shape != (self.num_classes,):
            raise ValueError(
                f'gt_score has shape {values.shape}{where}, expected '
                f'({self.num_classes},) (num_classes={self.num_classes}). Set '
                "num_classes to the number of the dataset's classes."
            )
        wrong = values[~np.isin(values, (-1, 0, 1))]
        if wrong.size:
            raise ValueError(
                f'gt_score holds {wrong[0]}{where}, expected 1 (present), 0 (absent) '
                'or -1 (unknown).'
            )

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(num_classes={self.num_classes}, '
            f'unknown_keys={self.unknown_keys})'
        )
