# SPDX-License-Identifier: Apache-2.0
"""What was found out about the data sets of a config, as JSON and as text."""

import json
from dataclasses import asdict, dataclass, field

import numpy as np

from ..plain_text import printable
from ..text_table import literal, text_table
from .findings import Finding
from .images import ANNOTATION, DAMAGED, MISSING, UNREADABLE
from .near_duplicates import NearPair
from .split_report import SplitReport


@dataclass(frozen=True)
class DatasetReport:
    """What a config's splits hold and what is wrong with them.

    Attributes:
        splits (list[SplitReport]): The splits that could be read.
        findings (list[Finding]): What is worth knowing, errors first.
        near_duplicates (list[NearPair]): Images of nearly the same content, the surest
            pairs first. Defaults to none.
    """

    splits: list[SplitReport]
    findings: list[Finding]
    near_duplicates: list[NearPair] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """bool: Whether nothing was found that would break training."""
        return not any(finding.level == 'error' for finding in self.findings)

    def to_json(self) -> str:
        """All values, findings and near duplicates as JSON."""
        content = dict(
            ok=self.ok,
            findings=[asdict(finding) for finding in self.findings],
            near_duplicates=[self._pair(pair) for pair in self.near_duplicates],
            splits=[split.to_dict() for split in self.splits],
        )
        return json.dumps(content, ensure_ascii=False, indent=1)

    def _pair(self, pair: NearPair) -> dict:
        splits = [self.splits[i] for i in pair.splits]
        return dict(
            splits=[split.name for split in splits],
            images=[split.images.path(i) for split, i in zip(splits, pair.images)],
            correlation=round(pair.correlation, 4),
            flipped=pair.flipped,
            labels_differ=pair.labels_differ,
        )

    def to_markdown(
        self, title: str, max_labels: int = 200, max_examples: int = 20
    ) -> str:
        """Tables and findings as Markdown.

        Args:
            title (str): The heading.
            max_labels (int): Largest number of rows of a table of labels: half of them
                the most frequent labels, half the rarest. Defaults to 200.
            max_examples (int): Largest number of images or labels that are named for a
                finding. Defaults to 20.

        Returns:
            str: The text.
        """
        lines = [f'# {title}', '']
        if self.splits:
            lines += [_overview(self.splits), '']
        lines += ['## Findings', '', *_list_findings(self.findings, max_examples)]
        for split in self.splits:
            lines += ['', *_label_table(split, max_labels)]
            lines += _frequent_pairs(split)
        return '\n'.join(lines) + '\n'


def _overview(splits: list[SplitReport]) -> str:
    """A table with a column for each split."""
    columns = []
    for split in splits:
        number, total = split.labels_per_image, split.annotated.sum()
        share = split.unknown.sum() / max(1, total * len(split.classes))
        order = np.argsort(-split.present, kind='stable')
        seen = order[split.present[order] > 0]
        imbalance = split.imbalance[seen]
        column = {
            'images': f'{split.num_images:,}',
            'images in an epoch': f'{split.epoch_length:,}',
            'labels': f'{len(split.classes):,}',
            'labels per image: mean': f'{number.mean():.2f}' if len(number) else '-',
            'least to most': (
                f'{number.min()} to {number.max()}' if len(number) else '-'
            ),
            'images without a label': f'{int((number == 0).sum()):,}',
            'unknown entries': f'{int(split.unknown.sum()):,} ({share:.2%})',
        }
        for name, label in (('most', seen[:1]), ('least', seen[-1:])):
            column[f'{name} frequent label'] = '-'
            for i in label:
                text = f'{literal(_short(split.classes[i]))} ({split.present[i]:,})'
                column[f'{name} frequent label'] = text
        worst, mean = '-', '-'
        if len(seen):
            worst, mean = f'{imbalance.max():.1f}', f'{imbalance.mean():.1f}'
        column |= {
            'imbalance: most to least frequent': worst,
            'imbalance: mean over labels': mean,
            'labels never present': f'{len(split.never_present):,}',
        }
        read = f'{int(split.has_digest.sum()):,}'
        column |= {
            'image files read': read if split.images.read_files else 'not looked at',
            'missing images': f'{split.problems[MISSING]:,}',
            'unreadable images': f'{split.problems[UNREADABLE]:,}',
            'images damaged inside': f'{split.problems[DAMAGED]:,}',
            'wrong annotations': f'{split.problems[ANNOTATION]:,}',
        }
        columns.append(column)
    head = ['', *(', '.join(split.names) for split in splits)]
    return text_table(head, [[key, *(c[key] for c in columns)] for key in columns[0]])


def _short(text: str, width: int = 40) -> str:
    return text if len(text) <= width else text[: width - 1] + '…'


def _no_html(text: str) -> str:
    """Text that is neither HTML nor holds commands for a terminal."""
    return printable(text).replace('<', '\\<')


def _list_findings(findings: list[Finding], max_examples: int) -> list[str]:
    lines = [] if findings else ['Nothing to complain about.']
    for finding in findings:
        where = ', '.join(finding.splits)
        lines.append(
            f'- **{finding.level}**: {finding.kind} ({where}): '
            f'{_no_html(finding.message)}'
        )
        shown = finding.examples[:max_examples]
        lines += [f'  - {_no_html(example)}' for example in shown]
        more = finding.count - len(shown)
        if finding.examples and more > 0:
            lines.append(f'  - and {more:,} more')
    return lines


def _label_table(split: SplitReport, max_labels: int) -> list[str]:
    order = np.argsort(-split.present, kind='stable').tolist()
    title = f'## Labels of {", ".join(split.names)}, by frequency'
    gap = None
    if len(order) > max_labels:
        most, least = max_labels - max_labels // 2, max_labels // 2
        title += f': the {most} most and {least} least frequent of {len(order):,}'
        gap = most
        order = order[:most] + (order[-least:] if least else [])
    total = max(1, int(split.annotated.sum()))
    rows = []
    for place, i in enumerate(order):
        if place == gap:
            rows.append(['…'] + [''] * 5)
        ratio = split.imbalance[i]
        rows.append(
            [
                literal(split.classes[i]),
                f'{split.present[i]:,}',
                f'{split.present[i] / total:.1%}',
                f'{split.absent[i]:,}',
                f'{split.unknown[i]:,}',
                '-' if np.isnan(ratio) else f'{ratio:.1f}',
            ]
        )
    head = ['label', 'present', 'of all', 'absent', 'unknown', 'imbalance']
    return [title, '', text_table(head, rows)]


def _frequent_pairs(split: SplitReport, number: int = 10) -> list[str]:
    """A table of the labels that are most often present together."""
    upper = np.triu(split.cooccurrence, k=1)
    order = np.argsort(-upper, axis=None, kind='stable')[:number]
    rows = []
    for i, j in zip(*np.unravel_index(order, upper.shape)):
        if upper[i, j] == 0:
            break
        one, other = (literal(split.classes[split.top[k]]) for k in (i, j))
        shares = (upper[i, j] / split.cooccurrence[k, k] for k in (i, j))
        rows.append(
            [f'{one} + {other}', f'{upper[i, j]:,}', *map('{:.0%}'.format, shares)]
        )
    if not rows:
        return []
    title = f'## Labels of {", ".join(split.names)} most often together'
    if len(split.classes) > len(split.top):
        title += f', among the {len(split.top)} most frequent'
    head = ['labels', 'images', 'of the first', 'of the second']
    return ['', title, '', text_table(head, rows)]
