# SPDX-License-Identifier: Apache-2.0
"""Vectors in place of images, as a multi-label classification dataset."""

import io
import zipfile
from collections.abc import Sequence

import numpy as np
from mmengine import fileio
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class FeatureVectors(MultiLabelDataset):
    """Feature vectors with multi-label targets, from one ``.npz`` file.

    For every split the file holds an array ``<split>_features`` ``(N, C)`` of finite
    numbers and an array ``<split>_labels`` ``(N, L)`` of 1 (present), 0 (absent) and -1
    (unknown; with unsigned numbers there is none). Names of splits are free. Data sets
    of plain vectors such as Yeast come in this form, and so may features that a
    backbone made beforehand.

    Each item holds ``features`` (np.ndarray ``(C,)`` float32), ``gt_score``
    (np.ndarray ``(L,)`` float32 in {1, 0, -1}) and ``gt_label`` (list[int], the
    indices of the labels present, sorted), in the file's order.
    ``PackInputs(input_key='features')`` is all that the pipeline needs.

    With ``standardize_by``, mean and standard deviation of every feature are taken
    over one split of the file, usually that of training, and vectors of all splits are
    standardised by them; a feature that is constant there is only centred. Both are
    part of ``metainfo``, as ``feature_mean`` and ``feature_std``, and so are kept in
    checkpoints for whoever applies the model to vectors from elsewhere.

    Args:
        ann_file (str): The ``.npz`` file, relative to ``data_root`` or absolute.
        split (str): The split to read.
        standardize_by (str, optional): The split to standardise by. None takes the
            vectors as they are. Defaults to None.
        data_root (str): The root of ``ann_file``. Defaults to ''.
        metainfo (dict, optional): Meta information. ``metainfo['classes']`` works like
            ``classes``. Defaults to None.
        classes (str | Sequence[str], optional): The names of the labels, or the path
            of a file with one name a line. Defaults to None, which numbers them:
            'label 0', 'label 1', ...
        **kwargs: Other keyword arguments of :class:`mmpretrain.datasets.BaseDataset`:
            ``pipeline``, ``test_mode``, ``indices``, ``serialize_data``,
            ``lazy_init``, ``max_refetch``, ``filter_cfg``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no ``.npz`` file or lacks an array, shapes disagree,
            a split is empty, a feature is not finite, a label is none of 1, 0 and -1,
            or there are more or fewer names than labels.

    Examples:
        >>> from mlcl_plugin.datasets import FeatureVectors
        >>> dataset = FeatureVectors(
        ...     ann_file='data/yeast/yeast.npz', split='train', standardize_by='train')
        >>> len(dataset), dataset[0]['features'].shape
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
            classes=classes,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read the file and set ``metainfo``.

        Returns:
            list[dict]: One dict a vector, with ``features``, ``gt_score`` and
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
                gt_label=np.flatnonzero(score == 1).tolist(),
            )
            for vector, score in zip(features.astype(np.float32), scores)
        ]

    def _read_arrays(self) -> dict[str, np.ndarray]:
        """Read the arrays that are needed."""
        try:
            content = fileio.get(self.ann_file)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f"There is no file of feature vectors '{self.ann_file}'. Check "
                f"ann_file and data_root (data_root='{self.data_root}')."
            ) from error
        except IsADirectoryError as error:
            raise ValueError(
                f'ann_file is the folder {self.ann_file}, expected an .npz file.'
            ) from error
        names = [f'{self.split}_features', f'{self.split}_labels']
        if self.standardize_by is not None:
            names.append(f'{self.standardize_by}_features')
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise ValueError(
                f'{self.ann_file} is no .npz file, or an incomplete one. Save the '
                f'arrays {names} into one with numpy.savez.'
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise ValueError(
                    f'{self.ann_file} lacks the arrays {missing}, it holds '
                    f'{sorted(file)}. Check split and standardize_by.'
                )
            return {name: file[name] for name in names}

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
        wrong = np.argwhere(~np.isin(labels, (-1, 0, 1)))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise ValueError(
                f"{self.ann_file}: '{name}' holds {labels[row, column]} in row {row}, "
                f'column {column}, expected 1 (present), 0 (absent) or -1 (unknown).'
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
