# SPDX-License-Identifier: Apache-2.0
"""Hide a part of a dataset's labels, the same part in every run."""

from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.datasets import MultiLabelDataset
from mmpretrain.registry import DATASETS

from ..targets import ABSENT, UNKNOWN, is_present, is_unknown
from .transforms.labels_to_targets import LabelsToTargets


@DATASETS.register_module()
class HideLabels(MultiLabelDataset):
    """A training dataset in which only a part of the labels is known.

    It measures, on data with all labels, what missing labels cost and how methods deal
    with them. ``mode='random'`` keeps every entry of an image's target vector, present
    or absent, with the probability ``keep`` (partial labels).
    ``mode='single_positive'`` keeps one present label, picked at random, and nothing
    else. Hidden entries become -1 (unknown), which this project's heads ignore, or 0
    with ``unknown_as=0``: the usual assumption that unobserved labels are absent.
    Entries that are unknown in the dataset stay -1 in either case.

    What is hidden depends only on ``seed`` and the index of the image in the wrapped
    dataset: it is the same in every epoch, process and worker, on every machine. With
    the same seed, what a smaller ``keep`` keeps is a part of what a larger one keeps.

    Labels are hidden where annotations are read, before the pipeline, which is the
    wrapped dataset's own unless ``pipeline`` is given. So this class is a dataset with
    the annotations of another one, not a wrapper around ``__getitem__`` like MMEngine's
    wrappers: ``get_data_info``, ``get_cat_ids`` and ``get_subset`` show what the
    pipeline gets, and wrappers (``KFoldDataset``, ``RepeatDataset``,
    ``ClassBalancedDataset``, ``ConcatDataset``) can wrap it. It does not wrap them:
    they have no pipeline.

    Each item is that of the wrapped dataset, with ``gt_score``, a vector of 1 / 0 / -1
    (int8, ``(num_classes,)``), and ``gt_label``, the list of the labels known to be
    present. ``get_cat_ids`` gives the latter.

    To train on a part of the *images*, with all their labels, no class is needed:
    MMEngine's datasets take ``indices=1000`` for the first thousand, or a list.

    Args:
        dataset (dict | BaseDataset): The dataset or its config. Its annotations have
            ``gt_score`` or ``gt_label``, as those of
            :class:`mmpretrain.datasets.MultiLabelDataset` and ``VOC``. An object is
            left as it is.
        keep (float, optional): The probability that an entry stays known, above 0 and
            up to 1. Needed by ``mode='random'``, and only allowed there. Defaults to
            None.
        mode (str): 'random' or 'single_positive'. Defaults to 'random'.
        seed (int): Not negative. Defaults to 0.
        unknown_as (int): What a hidden entry becomes: -1 or 0. Defaults to -1.
        num_classes (int, optional): Number of labels L. None takes that of
            ``metainfo['classes']`` or, without it, the length of ``gt_score``.
            Defaults to None.
        unknown_keys (Sequence[str]): Keys of lists of labels that are unknown in the
            dataset, see :class:`LabelsToTargets`.
            Defaults to ``('gt_label_difficult', )``.
        pipeline (list, optional): A pipeline instead of the dataset's. Steps of a
            config set it here, as for any training dataset. Defaults to None.
        lazy_init (bool): Read the annotations later, with ``full_init`` or when they
            are needed. Defaults to False.

    Raises:
        ValueError: If an option is out of range, the dataset has no pipeline or changes
            how it is run, its number of classes is not known or is not
            ``num_classes``, or an image has no labels or malformed ones.

    Examples:
        >>> train_pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
        >>> train_dataloader = dict(
        ...     dataset=dict(
        ...         type='HideLabels',
        ...         keep=0.1,
        ...         dataset=dict(
        ...             type='CocoMultiLabel',
        ...             data_root='data/coco',
        ...             ann_file='annotations/instances_train2014.json',
        ...             data_prefix='train2014',
        ...             pipeline=train_pipeline)))
    """

    def __init__(
        self,
        dataset: dict | BaseDataset,
        keep: float | None = None,
        mode: str = 'random',
        seed: int = 0,
        unknown_as: int = -1,
        num_classes: int | None = None,
        unknown_keys: Sequence[str] = ('gt_label_difficult',),
        pipeline: Sequence | None = None,
        lazy_init: bool = False,
    ) -> None:
        _check_options(keep, mode, seed, unknown_as)
        if num_classes is not None:
            # Checks it and unknown_keys before any file is read.
            LabelsToTargets(num_classes, unknown_keys)
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        if not isinstance(dataset, BaseDataset):
            raise ValueError(
                f'HideLabels wraps a dataset with a pipeline of its own, got '
                f'{type(dataset).__name__}. Put it inside: {type(dataset).__name__} '
                'takes a HideLabels as its dataset.'
            )
        # The annotations and the pipeline are all that is taken of the dataset, so what
        # MMEngine's BaseDataset does with them must not be overridden.
        kind = type(dataset)
        overridden = None
        if kind.__getitem__ is not BaseDataset.__getitem__:
            overridden = '__getitem__'
        elif kind.prepare_data is not BaseDataset.prepare_data:
            overridden = 'prepare_data'
        if overridden is not None:
            raise ValueError(
                f'{kind.__name__} has a {overridden} of its own, which HideLabels '
                'would not call. Hide labels in its load_data_list.'
            )
        self.keep = keep
        self.mode = mode
        self.seed = seed
        self.unknown_as = unknown_as
        self.num_classes = num_classes
        self.unknown_keys = tuple(unknown_keys)
        self._dataset = dataset
        self._source = type(dataset).__name__
        super().__init__(
            ann_file='',
            pipeline=dataset.pipeline.transforms if pipeline is None else pipeline,
            test_mode=dataset.test_mode,
            serialize_data=dataset.serialize_data,
            max_refetch=dataset.max_refetch,
            lazy_init=True,
        )
        self._metainfo = dataset.metainfo
        if not lazy_init:
            self.full_init()

    def load_data_list(self) -> list[dict]:
        """Take the annotations of the wrapped dataset and hide labels.

        Returns:
            list[dict]: One dict per image.
        """
        dataset = self._dataset
        dataset.full_init()
        # Some datasets know their classes only after reading.
        self._metainfo = dataset.metainfo
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        # Its annotations are not needed twice.
        self._dataset = None
        num_classes = self._find_num_classes(infos)
        self.num_classes = num_classes
        to_targets = LabelsToTargets(num_classes, self.unknown_keys)
        for index, info in enumerate(infos):
            targets = np.asarray(to_targets(dict(info))['gt_score'], dtype=np.int8)
            info['gt_score'] = self._hide(targets, index)
            info['gt_label'] = np.flatnonzero(is_present(info['gt_score'])).tolist()
        return infos

    def _find_num_classes(self, infos: list[dict]) -> int:
        """The number of labels that the options or the dataset give."""
        classes = self._metainfo.get('classes')
        if classes is not None:
            found = len(classes)
        elif self.num_classes is not None:
            return self.num_classes
        else:
            scores = (x['gt_score'] for x in infos if x.get('gt_score') is not None)
            found = len(next(scores, ()))
            if found == 0:
                raise ValueError(
                    f'{self._source} does not name its classes. Set num_classes of '
                    "HideLabels, or metainfo=dict(classes=...) of the dataset's config."
                )
        if self.num_classes not in (None, found):
            raise ValueError(
                f'num_classes={self.num_classes}, but {self._source} has {found} '
                'classes. Leave num_classes out.'
            )
        return found

    def _hide(self, targets: np.ndarray, index: int) -> np.ndarray:
        """Hide entries of an image's target vector ``(L,)``."""
        # NumPy promises the same numbers in all versions for bit generators, not for
        # the distributions made of them.
        draws = np.random.PCG64([self.seed, index])
        if self.keep is not None:
            bits = draws.random_raw(len(targets))
            shown = (bits >> np.uint64(11)) * 2.0**-53 < self.keep
        else:
            shown = np.zeros(len(targets), dtype=bool)
            present = np.flatnonzero(is_present(targets))
            if len(present):
                shown[present[draws.random_raw() % len(present)]] = True
        shown |= is_unknown(targets)
        return np.where(shown, targets, np.int8(self.unknown_as))

    def extra_repr(self) -> list[str]:
        """The extra repr information of the dataset."""
        kept = f'{self.keep} of all entries'
        if self.mode == 'single_positive':
            kept = 'one present label per image'
        return [
            f'Labels of: \t{self._source}',
            f'Labels kept: \t{kept} (seed {self.seed})',
            f'Hidden labels: \t{"unknown" if self.unknown_as else "taken as absent"}',
        ]


def _check_options(keep, mode, seed, unknown_as) -> None:
    if mode not in ('random', 'single_positive'):
        raise ValueError(f"mode must be 'random' or 'single_positive', got {mode!r}.")
    if mode == 'single_positive' and keep is not None:
        raise ValueError(
            f"keep={keep} is for mode='random'; mode='single_positive' keeps one label "
            'per image. Leave keep out.'
        )
    if mode == 'random' and (
        isinstance(keep, bool)
        or not isinstance(keep, (int, float))
        or not 0 < keep <= 1
    ):
        raise ValueError(
            'keep, the share of entries that stay known, must be a number above 0 and '
            f'up to 1, got {keep!r}.'
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f'seed must be an int and not negative, got {seed!r}.')
    if unknown_as not in (UNKNOWN, ABSENT):
        raise ValueError(
            f'unknown_as must be -1 (unknown) or 0 (absent), got {unknown_as!r}.'
        )
