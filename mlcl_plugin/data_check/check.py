# SPDX-License-Identifier: Apache-2.0
"""Check the data sets of a config."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from .classes import compare_classes, find_classes, question_names
from .duplicates import ACROSS, find_duplicates
from .findings import MAX_NAMED, Finding, count_text, one_line
from .images import (
    ANNOTATION,
    DAMAGED,
    MISSING,
    UNREADABLE,
    CheckedImages,
    ImageChecks,
    check_images,
)
from .near_duplicates import NEAR_DUPLICATES, find_near_duplicates
from .report import DatasetReport
from .split_report import SplitReport
from .splits import SplitConfig, find_splits, transforms_of, without

LOADERS = ('LoadImage', 'LoadImageFromFile')
LOAD_OPTIONS = ('imdecode_backend', 'backend_args', 'file_client_args', 'max_pixels')

NEVER_PRESENT, ALWAYS_PRESENT = 'never present', 'always present'


@runtime_checkable
class LazyDataset(Protocol):
    """A dataset that may be built before its annotation is read.

    MMEngine's datasets and its wrappers of datasets are such, without a common class.
    """

    def full_init(self) -> None:
        """Read the annotation, unless this is done."""


def check_datasets(
    cfg: Config,
    workers: int = 0,
    read_files: bool = True,
    progress: bool = False,
    near_duplicates: str = 'upright',
) -> DatasetReport:
    """Read all splits that a config names and check what a training relies on.

    Errors are: a data set that cannot be built or read, a split without images, images
    that are missing or cannot be read, faulty annotations, and classes that differ
    between splits or in number from what neck, head or pipeline expect. Warnings are:
    JPEG files with damage inside, duplicates (files of the same bytes), near duplicates
    (resized, compressed or cropped a little), labels that are never or always present,
    names of labels that differ only in how they are written, and unknown labels that
    would be trained as absent.

    Present labels and a digest are kept for every image, pictures and unknown labels
    are not: with 6 of 9,600 labels present, this takes about 330 bytes per image.
    Co-occurrence is counted for the 100 most frequent labels.

    Args:
        cfg (Config): The config.
        workers (int): Processes that read images. 0 reads them in this one.
            Defaults to 0.
        read_files (bool): Whether to open the image files. If not, files and duplicates
            are not checked. Defaults to True.
        progress (bool): Whether to show a progress bar on stderr. Defaults to False.
        near_duplicates (str): Which near duplicates to look for: 'none', 'upright', or
            'flipped', which adds mirrored images. Above 200,000 different images they
            are not looked for, which a warning says. Defaults to 'upright'.

    Returns:
        DatasetReport: What the splits hold, and findings.

    Raises:
        ValueError: If the config names no data set, or ``near_duplicates`` is none of
            the three.

    Examples:
        >>> from mmengine.config import Config
        >>> from mlcl_plugin.data_check import check_datasets
        >>> cfg = Config.fromfile('configs/mlcl/photos.py')  # doctest: +SKIP
        >>> check_datasets(cfg, workers=4).ok  # doctest: +SKIP
        True
    """
    if near_duplicates not in NEAR_DUPLICATES:
        raise ValueError(
            f'near_duplicates must be one of {NEAR_DUPLICATES}, got '
            f'{near_duplicates!r}.'
        )
    hashed = near_duplicates != 'none'
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    checked, findings = [], []
    for split in find_splits(cfg):
        report, found = _check_split(cfg, split, workers, read_files, progress, hashed)
        findings += found
        if report is not None:
            checked.append((split, report))
    reports = [report for _, report in checked]
    findings += compare_classes(cfg, checked)
    findings += question_names(reports)
    findings += find_duplicates(reports)
    near, found = find_near_duplicates(reports, near_duplicates == 'flipped')
    findings += found
    findings.sort(key=lambda finding: finding.level)
    return DatasetReport(reports, findings, near)


def _check_split(
    cfg: Config,
    split: SplitConfig,
    workers: int,
    read_files: bool,
    progress: bool,
    hashed: bool,
) -> tuple[SplitReport | None, list[Finding]]:
    """Read a split, if that is possible, and say what is wrong with it."""

    def error(kind: str, message: str) -> tuple[None, list[Finding]]:
        return None, [Finding('error', kind, split.names, message)]

    try:
        dataset = DATASETS.build(without(split.dataset, ['pipeline']))
        # Foreign datasets may be no such; MMEngine's runner allows that, too.
        if isinstance(dataset, LazyDataset):
            dataset.full_init()
        length = len(dataset)
    # Any error of a foreign dataset: the other splits are still checked.
    except Exception as exception:
        # MMEngine joins the serialized images of a dataset, of which there is none.
        if 'need at least one array to concatenate' in str(exception):
            length = 0
        else:
            name = type(exception).__name__
            message = f'The data set cannot be read. {name}: {one_line(exception)}'
            return error('data set', message)
    if length == 0:
        return error(
            'empty split',
            'The split has no image. Check data_root, the annotation file or image '
            'list, and indices.',
        )
    classes = find_classes(cfg, split, dataset)
    if classes is None:
        return error(
            'classes',
            f'{type(dataset).__name__} does not name its classes. Set '
            'metainfo=dict(classes=[...]) of the data set.',
        )

    unknown_keys, load_options = ('gt_label_difficult',), {}
    transforms = list(transforms_of(split.pipelines))
    for name, options in transforms:
        if name == 'LabelsToTargets':
            unknown_keys = options.get('unknown_keys', unknown_keys)
        elif name in LOADERS:
            load_options = {k: options[k] for k in LOAD_OPTIONS if k in options}
    images = ImageChecks(
        dataset, len(classes), unknown_keys, load_options, read_files, hashed
    )
    try:
        title = ', '.join(split.names) if progress else None
        checked = check_images(images, workers, title)
    except RuntimeError as exception:
        return error('data set', str(exception))
    report = SplitReport.from_images(split.names, classes, length, images, checked)
    scored = images.info(0).get('gt_score') is not None
    to_targets = any(name == 'LabelsToTargets' for name, _ in transforms)
    found = [*_faults(report, checked), *_never_present(report)]
    found += _always_present(report)
    if not scored and not to_targets:
        found += _unknown_as_absent(report, unknown_keys)
    return report, found + _train_is_test(report)


def _faults(report: SplitReport, checked: CheckedImages) -> list[Finding]:
    """Images that are missing, unreadable or wrongly annotated."""
    return [
        Finding(
            level,
            kind,
            report.names,
            f'{count_text(checked.problems[kind], report.num_images, "image")} {what}',
            checked.problems[kind],
            tuple(checked.faults[kind]),
        )
        for level, kind, what in (
            ('error', MISSING, 'missing.'),
            ('error', UNREADABLE, 'damaged or cannot be read.'),
            ('error', ANNOTATION, 'wrongly annotated.'),
            (
                'warning',
                DAMAGED,
                'damaged inside: pixels may be wrong. Fetch them again.',
            ),
        )
        if checked.problems[kind]
    ]


def _never_present(report: SplitReport) -> list[Finding]:
    """Labels that no image has."""
    names = report.never_present
    if not names:
        return []
    why = 'nothing to learn them from'
    if not report.name.endswith('train'):
        why = 'no average precision for them'
    text = count_text(len(names), len(report.classes), 'label')
    return [
        Finding(
            'warning',
            NEVER_PRESENT,
            report.names,
            f'{text} never present: there is {why}.',
            len(names),
            tuple(names[:MAX_NAMED]),
        )
    ]


def _always_present(report: SplitReport) -> list[Finding]:
    """Labels that all images have, such as those of vectors read as indices."""
    number = int(report.annotated.sum())
    names = [report.classes[i] for i in np.flatnonzero(report.present == number)]
    if not names or number < 2:
        return []
    text = count_text(len(names), len(report.classes), 'label')
    return [
        Finding(
            'warning',
            ALWAYS_PRESENT,
            report.names,
            f'{text} present in all images. Are vectors of 1 and 0 in gt_label, which '
            'takes indices?',
            len(names),
            tuple(names[:MAX_NAMED]),
        )
    ]


def _unknown_as_absent(report: SplitReport, unknown_keys: Any) -> list[Finding]:
    """Unknown entries, in a pipeline that does not make them unknown."""
    number = int(report.unknown.sum())
    if not number:
        return []
    message = (
        f'{number:,} unknown entries are taken as absent: the data set lists them '
        f'under {list(unknown_keys)}, which only LabelsToTargets in the pipeline makes '
        'unknown.'
    )
    return [Finding('warning', 'unknown as absent', report.names, message, number)]


def _train_is_test(report: SplitReport) -> list[Finding]:
    """A training set that is also a validation or test set."""
    kinds = {name.split('/')[-1] for name in report.names}
    if 'train' not in kinds or len(kinds) == 1:
        return []
    message = (
        f'{" and ".join(report.names)} are the same data set: results on it tell '
        'nothing about new images.'
    )
    return [Finding('warning', ACROSS, report.names, message, report.num_images)]
