# SPDX-License-Identifier: Apache-2.0
"""Compare the classes of splits with each other and with the model."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config

from ..datasets.label_spelling import near_same, show_group
from ..label_names import dataset_labels
from .findings import MAX_NAMED, Finding, count_text
from .split_report import SplitReport
from .splits import SplitConfig, configs_of_steps, transforms_of

SPELLING = 'names of labels'


def find_classes(
    cfg: Config, split: SplitConfig, dataset: Any
) -> tuple[str, ...] | None:
    """Find the names of a split's labels.

    Args:
        cfg (Config): The whole config.
        split (SplitConfig): The split.
        dataset (BaseDataset): Its dataset.

    Returns:
        tuple[str, ...], optional: The names, 'label 0', 'label 1', ... where only their
        number is known. None if neither is.
    """
    classes = dataset_labels(dataset)
    if classes is not None:
        return tuple(map(str, classes))
    expected = [number for _, number in _expected_numbers(cfg, split.pipelines)]
    return tuple(f'label {i}' for i in range(expected[0])) if expected else None


def compare_classes(
    cfg: Config, splits: Sequence[tuple[SplitConfig, SplitReport]]
) -> list[Finding]:
    """Compare the classes of the splits with each other and with the model.

    Args:
        cfg (Config): The whole config.
        splits (Sequence[tuple[SplitConfig, SplitReport]]): The splits that were read.

    Returns:
        list[Finding]: Errors.
    """
    findings = []
    for _, split in splits[1:]:
        first = splits[0][1]
        if split.classes != first.classes:
            message = _differ(first, split)
            names = (first.name, split.name)
            findings.append(Finding('error', 'classes', names, message))
    for config, split in splits:
        number = len(split.classes)
        numbers = dict(_expected_numbers(cfg, config.pipelines))
        wrong = [f'{where}={got}' for where, got in numbers.items() if got != number]
        if wrong:
            message = f'The split has {number} classes, but {", ".join(wrong)}.'
            findings.append(Finding('error', 'classes', split.names, message))
    return findings


def question_names(splits: Sequence[SplitReport]) -> list[Finding]:
    """Find names of labels that differ only in how they are written.

    Args:
        splits (Sequence[SplitReport]): The splits that were read.

    Returns:
        list[Finding]: Warnings, one for the splits with the same classes.
    """
    names_of: dict[tuple[str, ...], list[str]] = {}
    for split in splits:
        names_of.setdefault(split.classes, []).extend(split.names)
    findings = []
    for classes, names in names_of.items():
        groups = near_same(classes)
        if groups:
            findings.append(
                Finding(
                    'warning',
                    SPELLING,
                    tuple(names),
                    f'{sum(map(len, groups)):,} labels differ from another one only in '
                    'capital letters, blanks or the form of Unicode. They are labels '
                    'of their own: give them one name if they are the same.',
                    len(groups),
                    tuple(map(show_group, groups[:MAX_NAMED])),
                )
            )
        blank = [name for name in classes if name != name.strip()]
        if blank:
            findings.append(
                Finding(
                    'warning',
                    SPELLING,
                    tuple(names),
                    f'{count_text(len(blank), len(classes), "label")} written with a '
                    'blank at the beginning or end, which is part of the name.',
                    len(blank),
                    tuple(map(repr, blank[:MAX_NAMED])),
                )
            )
    return findings


def _differ(first: SplitReport, second: SplitReport) -> str:
    """Say how the classes of two splits differ."""
    pairs = itertools.zip_longest(first.classes, second.classes)
    place, (ours, theirs) = next(
        (i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]
    )
    what = 'the same names in another order'
    if set(second.classes) != set(first.classes):
        only = [
            f'only {one.name} has {sorted(set(one.classes) - set(other.classes))}'
            for one, other in ((first, second), (second, first))
            if set(one.classes) - set(other.classes)
        ]
        what = '; '.join(only)
    return (
        f'{first.name} has {len(first.classes)} classes and {second.name} '
        f'{len(second.classes)}: {what}. They differ from index {place} on: '
        f'{ours!r} and {theirs!r}. Give all splits the same classes.'
    )


def _expected_numbers(cfg: Config, pipelines: Any) -> Iterator[tuple[str, int]]:
    """Give the settings that fix the number of labels, and their values."""
    for name, options in transforms_of(pipelines):
        if name == 'LabelsToTargets' and 'num_classes' in options:
            yield 'LabelsToTargets.num_classes', options['num_classes']
    for step, config in configs_of_steps(cfg):
        for part in ('neck', 'head'):
            module = (config.get('model') or {}).get(part)
            if isinstance(module, dict) and module.get('num_classes') is not None:
                where = f'model.{part}.num_classes'
                yield f'steps.{step}.{where}' if step else where, module['num_classes']
