# SPDX-License-Identifier: Apache-2.0
"""Feature vectors as a multi-label classification dataset."""

import io
import zipfile
from collections.abc import Sequence

import numpy as np
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

from ..plain_text import brief, list_some
from ..targets import check_targets, is_present
from .annotation_files import read_annotation_file, read_classes


@DATASETS.register_module()
class FeatureVectors(MultiLabelDataset):
    """Feature vectors with multi-label targets, from one ``.npz`` file.

    For every split the file holds an array ``<split>_features`` ``(N, C)`` of finite
    numbers and an array ``<split>_labels`` ``(N, L)`` of 1 (present), 0 (absent) and -1
    (unknown; not in unsigned arrays). Names of splits are free. Data sets of vectors
    such as Yeast have this form, and features of a backbone can have it.

    Each item holds ``features`` (np.ndarray ``(C,)`` float32), ``gt_score``
    (np.ndarray ``(L,)`` float32 in {1, 0, -1}) and ``gt_label`` (list[int], the indices
    of the present labels, sorted), in the order of the file. The pipeline needs only
    ``PackInputs(input_key='features')``.

    With ``standardize_by``, the vectors are standardised by mean and standard deviation
    of one split of the file, usually that of training; a feature that is constant there
    is only centred. Both are in ``metainfo``, as ``feature_mean`` and ``feature_std``,
    and so in checkpoints, for vectors from elsewhere.

    Args:
        ann_file (str): The ``.npz`` file, relative to ``data_root`` or absolute.
        split (str): The split to read.
        standardize_by (str, optional): The split to standardise by. Defaults to None:
            vectors stay as they are.
        data_root (str): The root of relative paths. Defaults to ''.
        metainfo: See :class:`LabelledImages`.
        **kwargs: Passed on to :class:`LabelledImages`.
        classes (str | Sequence[str], optional): The names of the labels in the order of
            their index, or the path of a file with one name per line. Defaults to None:
            'label 0', 'label 1', ...

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ``.npz`` file or lacks an array, shapes disagree,
            a split is empty, a feature is not finite, a label is not 1, 0 or -1, or the
            number of names is not that of labels.

    Examples:
        >>> from mlcl_plugin.datasets import FeatureVectors
        >>> dataset = FeatureVectors(  # doctest: +SKIP
        ...     ann_file='data/yeast/yeast.npz', split='train', standardize_by='train')
        >>> len(dataset), dataset[0]['features'].shape  # doctest: +SKIP
        (1200, (103,))
    """

    def __init__(
        self,
        ann_file: str,
        split: str,
        standardize_by: str | None = None,
        data_root: str = '',
        metainfo: dict | None = None,
        classes: str | Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        self.split = split
        self.standardize_by = standardize_by
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            metainfo=metainfo,
            classes=read_classes(classes),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the file and set ``metainfo``.

        Returns:
            list[dict]: One dict per vector, with ``features``, ``gt_score`` and
            ``gt_label``.
        """
        arrays = self._read_arrays()
        features = self._features(arrays, self.split)
        scores = self._scores(arrays, len(features))
        if self.standardize_by is not None:
            reference = self._features(arrays, self.standardize_by)
            if reference.shape[1] != features.shape[1]:
                raise ValueError(
                    f"{self.ann_file}: '{self.split}_features' has "
                    f'{features.shape[1]} features, but '
                    f"'{self.standardize_by}_features' has {reference.shape[1]}."
                )
            mean, std = reference.mean(axis=0), reference.std(axis=0)
            # The deviation of a constant feature is at most the rounding of its mean.
            constant = np.ptp(reference, axis=0) == 0
            std[constant] = 1
            features = (features - mean) / std
            self._metainfo.update(
                feature_mean=tuple(mean.tolist()), feature_std=tuple(std.tolist())
            )
        self._set_classes(scores.shape[1])
        return [
            dict(
                features=vector,
                gt_score=score,
                gt_label=np.flatnonzero(is_present(score)).tolist(),
            )
            for vector, score in zip(features.astype(np.float32), scores)
        ]

    def _read_arrays(self) -> dict[str, np.ndarray]:
        """Read the arrays that are needed."""
        content = read_annotation_file(
            self.ann_file, 'file of feature vectors', 'ann_file', self.data_root
        )
        names = [f'{self.split}_features', f'{self.split}_labels']
        if self.standardize_by is not None:
            names.append(f'{self.standardize_by}_features')
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise ValueError(
                f'{self.ann_file} is no .npz file, or an incomplete one. Save the '
                f'arrays {names} into one with numpy.savez.'
            )
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                there = sorted(file)
                missing = [name for name in names if name not in there]
                arrays = {} if missing else {name: file[name] for name in names}
        # Damaged files make zipfile and numpy raise nearly anything.
        except Exception as error:
            text = str(error) or type(error).__name__
            raise ValueError(
                f'{self.ann_file} is damaged, or holds arrays of objects, which are '
                f'not read: {brief(text)}'
            ) from error
        if missing:
            raise ValueError(
                f'{self.ann_file} lacks the arrays {missing}, it holds '
                f'{list_some(there)}. Check split and standardize_by.'
            )
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{self.ann_file}: '{name}' is not an array.")
        return arrays

    def _features(self, arrays: dict[str, np.ndarray], split: str) -> np.ndarray:
        """The checked features ``(N, C)`` of a split, in float64."""
        name = f'{split}_features'
        features = arrays[name]
        is_matrix = features.ndim == 2 and 0 not in features.shape
        if not is_matrix or features.dtype.kind not in 'fiu':
            raise ValueError(
                f"{self.ann_file}: expected numbers (N, C) in '{name}', N and C not 0, "
                f'got {features.dtype} {features.shape}.'
            )
        features = features.astype(np.float64)
        wrong = np.argwhere(~np.isfinite(features))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise ValueError(
                f"{self.ann_file}: '{name}' holds {features[row, column]} in row "
                f'{row}, column {column}, expected finite numbers.'
            )
        return features

    def _scores(self, arrays: dict[str, np.ndarray], number: int) -> np.ndarray:
        """The checked labels ``(N, L)`` of the split, in float32."""
        name = f'{self.split}_labels'
        labels = arrays[name]
        if labels.ndim != 2 or len(labels) != number or labels.shape[1] == 0:
            raise ValueError(
                f"{self.ann_file}: expected ({number}, L) in '{name}', one row for "
                f'each row of features, got {labels.shape}.'
            )
        if labels.dtype.kind not in 'biuf':
            raise ValueError(
                f"{self.ann_file}: expected numbers in '{name}', got {labels.dtype}."
            )
        check_targets(
            labels,
            name=f"{self.ann_file}: values of '{name}'",
            where=lambda place: f' in row {place[0]}, column {place[1]}',
        )
        return labels.astype(np.float32)

    def _set_classes(self, num_labels: int) -> None:
        classes = self._metainfo.get('classes')
        if classes is None:
            classes = [f'label {number}' for number in range(num_labels)]
        if len(classes) != num_labels:
            raise ValueError(
                f"{self.ann_file}: '{self.split}_labels' has {num_labels} labels, but "
                f'classes has {len(classes)} names: {list(classes)}.'
            )
        self._metainfo['classes'] = tuple(classes)

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        return [
            f'Annotation file: \t{self.ann_file}',
            f'Split: \t{self.split}',
            f'Standardised by: \t{self.standardize_by}',
        ]
