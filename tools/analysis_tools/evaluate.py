# SPDX-License-Identifier: Apache-2.0
"""Evaluate score dumps without a model, and compare several of the same images."""

import argparse
import csv
import json
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mlcl_plugin.evaluation.confused_pairs import confused_pairs
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.dump_comparison import (
    BootstrapReport,
    Estimate,
    adjust_p_values,
    align_dumps,
    bootstrap_report,
)
from mlcl_plugin.evaluation.label_report import label_report, predict_labels
from mlcl_plugin.evaluation.metrics.multi_label_recognition import (
    MultiLabelRecognitionMetric,
)
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.text_table import text_table
from mlcl_plugin.visualization.precision_recall_plot import (
    COLOURS,
    precision_recall_plot,
)

COMPARED = ('mAP', 'CF1', 'OF1')
# Labels in a table that is printed; the files have all.
PRINTED_LABELS = 40


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Evaluate what tools/test.py --out has written, without a model: '
        'all figures with intervals, a table of labels, curves of precision against '
        'recall, and pairs of labels that are confused. Several dumps of the same '
        'images are compared with the first one'
    )
    parser.add_argument('dumps', nargs='+', help='score dumps: .pkl, .csv or .parquet')
    parser.add_argument(
        '--decisions',
        nargs='+',
        help='a file of tools/analysis_tools/thresholds.py, or one for each dump',
    )
    parser.add_argument(
        '--thr',
        type=float,
        default=0.5,
        help='the threshold of all labels without --decisions (default: 0.5)',
    )
    parser.add_argument(
        '--topk',
        type=int,
        default=3,
        help='labels an image at most in the top-k figures (default: 3)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='the folder to write report.md, report.json, labels.csv, '
        'confused_pairs.csv and precision_recall.png to',
    )
    parser.add_argument(
        '--pairs',
        type=int,
        default=20,
        help='confused pairs of labels at most (default: 20)',
    )
    parser.add_argument(
        '--resamples',
        type=int,
        default=1000,
        help='resamples of the images for intervals, and permutations for tests '
        '(default: 1000)',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        help='a text file with the names of the labels, one a line, for a .pkl of '
        "MMPretrain's tools/test.py",
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the draws (default: 0)'
    )
    args = parser.parse_args(args)
    for name, value, least in (
        ('topk', args.topk, 1),
        ('pairs', args.pairs, 0),
        ('resamples', args.resamples, 1),
        ('seed', args.seed, 0),
    ):
        if value < least:
            parser.error(f'--{name} must be {least} or more, got {value}')
    if not math.isfinite(args.thr):
        parser.error(f'--thr must be a finite number, got {args.thr}')
    if len(args.dumps) > len(COLOURS):
        parser.error(f'at most {len(COLOURS)} dumps, got {len(args.dumps)}')
    if args.decisions and len(args.decisions) not in (1, len(args.dumps)):
        parser.error(
            f'--decisions needs one file or one for each of the {len(args.dumps)} '
            f'dumps, got {len(args.decisions)}'
        )
    return args


def short_names(paths: Sequence[str]) -> list[str]:
    """Different names of files, as short as the names of the files allow."""
    for names in (
        [Path(path).stem for path in paths],
        [Path(path).name for path in paths],
        list(paths),
    ):
        if len(set(names)) == len(names):
            return names
    return [f'{path} ({number})' for number, path in enumerate(paths, start=1)]


def load_dumps(args: argparse.Namespace) -> dict[str, ScoreDump]:
    """The dumps by their short names, all with the images of the first."""
    dumps = [ScoreDump.load(path, args.classes) for path in args.dumps]
    for index in range(1, len(dumps)):
        try:
            dumps[index] = align_dumps(dumps[0], dumps[index])
        except ValueError as error:
            raise ValueError(
                f'{args.dumps[index]} cannot be compared with {args.dumps[0]}. {error}'
            ) from error
    return dict(zip(short_names(args.dumps), dumps))


class Evaluation:
    """Everything there is to say about some dumps, and the forms it is said in.

    Args:
        args (argparse.Namespace): The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.dumps = load_dumps(args)
        rules: list[float | Decisions] = [args.thr]
        if args.decisions:
            rules = [Decisions.load(path) for path in args.decisions]
        self.rules = dict(zip(self.dumps, rules * len(self.dumps)))
        predicted = {}
        for name, rule in self.rules.items():
            predicted[name] = predict_labels(self.dumps[name], rule)
        self.metrics = {
            name: MultiLabelRecognitionMetric.calculate(
                dump.scores,
                dump.targets,
                topk=args.topk,
                **(
                    dict(decisions=self.rules[name])
                    if args.decisions
                    else dict(thr=args.thr)
                ),
            )
            for name, dump in self.dumps.items()
        }
        self.labels = {
            name: label_report(dump, self.rules[name])
            for name, dump in self.dumps.items()
        }
        self.pairs = {
            name: confused_pairs(dump, predicted[name], args.pairs)
            for name, dump in self.dumps.items()
        }
        self.bootstrap: BootstrapReport = bootstrap_report(
            list(self.dumps.values()),
            list(predicted.values()),
            args.resamples,
            seed=args.seed,
        )
        self.p_values = self._p_values()

    def _p_values(self) -> list[dict[str, float]]:
        """Of each comparison, held for all comparisons of a figure together."""
        comparisons = self.bootstrap.comparisons
        adjusted = {
            key: adjust_p_values([c.p_values[key] for c in comparisons])
            for key in COMPARED
        }
        return [
            {key: adjusted[key][index] for key in COMPARED}
            for index in range(len(comparisons))
        ]

    def figure_table(self) -> str:
        """All figures of each dump; with interval where there is one."""
        rows = []
        for key in next(iter(self.metrics.values())):
            row = [key]
            for own, estimates in zip(self.metrics.values(), self.bootstrap.figures):
                if key == 'num_classes_evaluated':
                    row.append(str(own[key]))
                elif key in estimates:
                    row.append(_with_interval(estimates[key]))
                else:
                    row.append(f'{own[key]:.2f}')
            rows.append(row)
        return text_table(['%', *self.dumps], rows)

    def comparison_table(self) -> str:
        """Differences to the first dump, with p-values."""
        rows = []
        names = list(self.dumps)[1:]
        for name, comparison, p_values in zip(
            names, self.bootstrap.comparisons, self.p_values
        ):
            for key in COMPARED:
                rows.append(
                    [
                        name,
                        key,
                        _with_interval(comparison.differences[key], '+'),
                        '-' if math.isnan(p_values[key]) else f'{p_values[key]:.4f}',
                    ]
                )
        return text_table(
            ['dump', 'figure', f'minus {next(iter(self.dumps))}', 'p'], rows
        )

    def label_table(self, name: str, most: int | None = None) -> str:
        """The labels of a dump, worst AP first if there are too many to show."""
        index = list(self.dumps).index(name)
        rows = list(zip(self.labels[name], self.bootstrap.label_figures[index]))
        calibrated = any(not math.isnan(row['temperature']) for row, _ in rows)
        unknown = any(row['unknown'] for row, _ in rows)
        if most is not None and len(rows) > most:
            # nan is no AP, good or bad.
            rows.sort(key=lambda pair: (math.isnan(pair[0]['AP']), pair[0]['AP']))
            rows = rows[:most]
        header = ['label', 'AP', 'precision', 'recall', 'F1', 'support', 'predicted']
        header += ['unknown'] * unknown + ['threshold'] + ['temperature'] * calibrated
        table = []
        for row, estimate in rows:
            cells = [row['label'], _with_interval(estimate)]
            cells += [_percent(row[key]) for key in ('precision', 'recall', 'F1')]
            cells += [row['support'], row['predicted']]
            cells += [row['unknown']] * unknown + [f'{row["threshold"]:.4f}']
            cells += [f'{row["temperature"]:.3f}'] * calibrated
            table.append(cells)
        return text_table(header, table)

    def pair_table(self, name: str) -> str:
        """Confused pairs of a dump."""
        rows = [
            [
                pair['present'],
                pair['predicted'],
                pair['images'],
                f'{pair["expected"]:.1f}',
                f'{pair["lift"]:.1f}',
                pair['missed'],
                f'{pair["p_adjusted"]:.1e}',
            ]
            for pair in self.pairs[name]
        ]
        header = ['present', 'falsely predicted', 'images', 'expected', 'lift']
        return text_table([*header, 'first one missed', 'p'], rows)

    def to_markdown(self, most_labels: int | None = None) -> str:
        """Everything as text."""
        args = self.args
        first = next(iter(self.dumps.values()))
        rule = f'threshold {args.thr:g}'
        if args.decisions:
            rule = 'decisions of ' + ', '.join(args.decisions)
        parts = [
            f'# {", ".join(self.dumps)}',
            f'{len(first.images):,} images, {len(first.classes):,} labels; {rule}.',
            self.figure_table(),
            f'In brackets: 95 % basic bootstrap intervals, {args.resamples:,} '
            'resamples of the images; thresholds are taken as given.',
        ]
        if self.bootstrap.comparisons:
            parts += [
                '## Comparison',
                self.comparison_table(),
                'Differences with intervals of the same resamples on both sides. p: '
                'two-sided permutation test that swaps the models image by image, '
                'of AP by ranks; by Holm over the dumps. It says whether these '
                'checkpoints differ on images like these, not whether the methods that '
                'they were trained by do: that takes several seeds.',
            ]
        for name in self.dumps:
            shown = len(first.classes)
            if most_labels is not None and shown > most_labels:
                shown = most_labels
            which = (
                f'the worst {shown} labels'
                if shown < len(first.classes)
                else ('labels')
            )
            parts += [f'## {name}: {which}', self.label_table(name, most_labels)]
            parts.append(f'## {name}: confused pairs')
            if self.pairs[name]:
                parts += [
                    self.pair_table(name),
                    'Images with the first label and without the second one, which was '
                    'predicted; how many of them would be expected if the second '
                    "one's errors had nothing to do with the first; and in how many "
                    'the first one was missed as well. By the excess over what is '
                    'expected; one-sided exact test, false discovery rate of 5 %.',
                ]
            else:
                parts.append('No pair stands out from chance.')
        return '\n\n'.join(parts) + '\n'

    def to_json(self) -> str:
        """Everything in full, figures in percent."""
        first = next(iter(self.dumps.values()))
        dumps = []
        for index, (name, path) in enumerate(zip(self.dumps, self.args.dumps)):
            estimates = self.bootstrap.figures[index]
            content = dict(
                name=name,
                path=path,
                metrics={k: _finite(v) for k, v in self.metrics[name].items()},
                intervals={key: _in_percent(e)[1:] for key, e in estimates.items()},
                labels=list(map(_label_row, self.labels[name])),
                confused_pairs=self.pairs[name],
            )
            if index > 0:
                comparison = self.bootstrap.comparisons[index - 1]
                content['minus_first'] = {
                    key: dict(
                        zip(('value', 'low', 'high'), _in_percent(estimate)),
                        p=_finite(comparison.p_values[key]),
                    )
                    for key, estimate in comparison.differences.items()
                }
                for key, value in self.p_values[index - 1].items():
                    content['minus_first'][key]['p_holm'] = _finite(value)
            dumps.append(content)
        content = dict(
            num_images=len(first.images),
            num_labels=len(first.classes),
            thr=None if self.args.decisions else self.args.thr,
            decisions=self.args.decisions,
            level=0.95,
            num_resamples=self.args.resamples,
            seed=self.args.seed,
            dumps=dumps,
        )
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'

    def write(self, out: Path) -> list[str]:
        """Write all files to a folder and tell their names."""
        out.mkdir(parents=True, exist_ok=True)
        (out / 'report.md').write_text(self.to_markdown(), encoding='utf-8')
        (out / 'report.json').write_text(self.to_json(), encoding='utf-8')
        labels, pairs = [], []
        for index, name in enumerate(self.dumps):
            estimates = self.bootstrap.label_figures[index]
            for number, row in enumerate(self.labels[name]):
                row = dict(dump=name, **_label_row(row))
                row['AP_low'], row['AP_high'] = _in_percent(estimates[number])[1:]
                if index > 0:
                    comparison = self.bootstrap.comparisons[index - 1]
                    difference = _in_percent(comparison.label_differences[number])
                    for key, value in zip(('', '_low', '_high'), difference):
                        row[f'AP_minus_first{key}'] = value
                labels.append(row)
            pairs += [dict(dump=name, **pair) for pair in self.pairs[name]]
        _write_csv(out / 'labels.csv', labels)
        _write_csv(out / 'confused_pairs.csv', pairs)
        written = ['report.md', 'report.json', 'labels.csv', 'confused_pairs.csv']
        if any(row['support'] for row in next(iter(self.labels.values()))):
            with warnings.catch_warnings():
                # Fonts lack some scripts; the names are whole in the tables.
                warnings.filterwarnings('ignore', message='Glyph .* missing')
                precision_recall_plot(self.dumps, self.labels).savefig(
                    out / 'precision_recall.png'
                )
            written.append('precision_recall.png')
        return written


def _finite(value: object) -> object:
    """JSON has no nan."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _label_row(row: dict) -> dict:
    """A row of :func:`label_report` in percent."""
    figures = ('AP', 'precision', 'recall', 'F1')
    return {
        key: _finite(100 * value if key in figures else value)
        for key, value in row.items()
    }


def _in_percent(estimate: Estimate) -> list[float | None]:
    return [_finite(100 * value) for value in estimate]


def _percent(value: float) -> str | None:
    return None if math.isnan(value) else f'{100 * value:.2f}'


def _with_interval(estimate: Estimate, sign: str = '') -> str | None:
    if math.isnan(estimate.value):
        return None
    value, low, high = (f'{100 * number:{sign}.2f}' for number in estimate)
    return f'{value} ({low} to {high})'


def _write_csv(path: Path, rows: list[dict]) -> None:
    """One row a dict; what is None is left empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, names, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def main(args: list[str] | None = None) -> int:
    """Evaluate the dumps that the command line names.

    Returns:
        int: The exit code: 2 if command line or a file are at fault, else 0.
    """
    args = parse_args(args)
    try:
        evaluation = Evaluation(args)
        print(evaluation.to_markdown(PRINTED_LABELS))
        if args.out is not None:
            print(f'{args.out}: {", ".join(evaluation.write(args.out))}')
    except (OSError, ValueError, ImportError) as error:
        print(f'evaluate: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
