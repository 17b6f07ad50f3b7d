# SPDX-License-Identifier: Apache-2.0
"""Write the tables of the docs and the plots from the files of results.

What stands between the two marks in a page is replaced, the rest stays.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import plan
from common import RESULTS, ROOT
from method_report import draw_methods, format_methods
from report import (
    comparison_table,
    curve_table,
    draw,
    format_environment,
    further_tables,
    markdown,
)

BEGIN = '<!-- made by benchmarks/make_docs.py -->'
END = '<!-- end -->'


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
        help='folder with benchmarks.md, scaling.md, plan.md and methods.md (default: '
        'docs)',
    )
    return parser.parse_args(args)


def format_section(result: dict, key: str, pictures: Path) -> str:
    """The comparisons or the curves of a benchmark.

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


def format_plan(results: Path) -> str:
    """The plan with a query for every label, and with groups of labels."""
    if not (results / 'pipeline.json').exists():
        return 'No results yet: `make bench`.'
    loader, parts = plan.measured_loader(results), []
    for title, options in (
        ('A query for every label', []),
        ('100 groups of labels', ['--groups', '100']),
    ):
        command = ' '.join(['python benchmarks/plan.py', *options])
        table = markdown(
            plan.plan(plan.parse_args([*options, '--loader', str(loader)]))
        )
        parts += [f'## {title}', table, f'`{command}`']
    return '\n\n'.join(parts)


def format_suite(result: dict, pictures: Path) -> str:
    """What compare_methods.py found in one suite."""
    path = (pictures / f'{result["name"]}.png').as_posix()
    return '\n\n'.join(
        [
            f'## {result["title"]}',
            format_methods(result),
            f'![{result["title"]}, as a plot]({path})',
        ]
    )


def replace_between(page: Path, text: str) -> None:
    """Put a text between the marks of a page.

    Args:
        page (Path): The page.
        text (str): The text.

    Raises:
        ValueError: If the page lacks the marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f'{page} has no place for results: expected a line {BEGIN} and, below it, '
            f'a line {END}.'
        )
    page.write_text(f'{before}{BEGIN}\n\n{text}\n\n{END}{after}')


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    results = [json.loads(path.read_text()) for path in args.results.glob('*.json')]
    results.sort(key=lambda result: result['name'])
    for result in results:
        draw(result, args.results)
    pictures = Path(os.path.relpath(args.results, args.docs))
    for name, key in (('benchmarks', 'comparisons'), ('scaling', 'curves')):
        sections = [format_section(r, key, pictures) for r in results if r[key]]
        text = '\n\n'.join(sections) or 'No results yet: `make bench`.'
        replace_between(args.docs / f'{name}.md', text)
    replace_between(args.docs / 'plan.md', format_plan(args.results))

    folder = args.results / 'methods'
    suites = [json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))]
    for result in suites:
        draw_methods(result, folder)
    sections = [format_suite(result, pictures / 'methods') for result in suites]
    text = '\n\n'.join(sections) or 'No results yet.'
    replace_between(args.docs / 'methods.md', text)


if __name__ == '__main__':
    main()
