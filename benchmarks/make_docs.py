# SPDX-License-Identifier: Apache-2.0
"""Write the docs' tables and the plots of the benchmarks from the files of results."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cost_estimate
from common import RESULTS, ROOT
from report import (
    comparison_table,
    curve_table,
    draw,
    format_environment,
    further_tables,
)

from mlcl_plugin.text_table import table_of_rows

MARK = '<!-- Written by `python benchmarks/make_docs.py`. Do not edit. -->'
NO_RESULTS = 'No results yet: `make bench`.'
HEADS = {
    'benchmarks_tables.md': """\
# Benchmarks: tables

[benchmarks.md](benchmarks.md) says how time and memory are measured.""",
    'scaling_tables.md': """\
# Scaling: tables

Measured cost over a growing size, with the fitted exponent e of cost ~ size^e.
[benchmarks.md](benchmarks.md) says how it is measured and fitted.""",
    'cost_estimate_tables.md': """\
# Cost estimate: tables

[cost_estimate.md](cost_estimate.md) says what is assumed. No run of this size has been
made.""",
}


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--results',
        type=Path,
        default=RESULTS,
        help='folder with the files of results (default: benchmarks/results)',
    )
    parser.add_argument(
        '--docs',
        type=Path,
        default=ROOT / 'docs',
        help=f'folder for {", ".join(HEADS)} (default: docs)',
    )
    return parser.parse_args(args)


def format_section(result: dict, key: str, pictures: Path) -> str:
    """Write the comparisons or the curves of a benchmark.

    Args:
        result (dict): The content of a file of results.
        key (str): ``'comparisons'`` or ``'curves'``.
        pictures (Path): Where its plots are, as seen from the page.

    Returns:
        str: Markdown.
    """
    if key == 'comparisons':
        tables = [comparison_table(result[key]), *further_tables(result)]
        suffix = ''
    else:
        tables, suffix = [curve_table(curve) for curve in result[key]], '_curves'
    path = (pictures / f'{result["name"]}{suffix}.png').as_posix()
    return '\n\n'.join(
        [
            f'## {result["title"]}',
            result['description'],
            *tables,
            f'![{result["title"]}, as a plot]({path})',
            format_environment(result),
        ]
    )


def format_estimates(results: Path) -> list[str]:
    """Write the cost estimate with a query per label, and with groups of labels."""
    if not (results / 'pipeline.json').exists():
        return []
    loader, sections = cost_estimate.measured_loader(results), []
    for title, options in (
        ('A query per label', []),
        ('100 groups of labels', ['--groups', '100']),
    ):
        command = ' '.join(['python benchmarks/cost_estimate.py', *options])
        work = cost_estimate.parse_args([*options, '--loader', str(loader)])
        table = table_of_rows(cost_estimate.estimate(work))
        sections.append(f'## {title}\n\n{table}\n\n`{command}`')
    return sections


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    results = [json.loads(path.read_text()) for path in args.results.glob('*.json')]
    results.sort(key=lambda result: result['name'])
    for result in results:
        draw(result, args.results)
    pictures = Path(os.path.relpath(args.results, args.docs))
    pages = {
        page: [format_section(r, key, pictures) for r in results if r[key]]
        for page, key in (
            ('benchmarks_tables.md', 'comparisons'),
            ('scaling_tables.md', 'curves'),
        )
    }
    pages['cost_estimate_tables.md'] = format_estimates(args.results)
    for page, sections in pages.items():
        text = '\n\n'.join([f'{MARK}\n{HEADS[page]}', *(sections or [NO_RESULTS])])
        (args.docs / page).write_text(f'{text}\n')


if __name__ == '__main__':
    main()
