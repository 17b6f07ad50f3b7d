# SPDX-License-Identifier: Apache-2.0
"""Write the tables of the docs and the plots from the files of results.

What stands between the two marks in a page is replaced, the rest stays.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from common import RESULTS, ROOT
from report import comparison_table, curve_table, draw, format_environment

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
        help='folder with benchmarks.md and scaling.md (default: docs)',
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
        tables, suffix = [comparison_table(result[key])], ''
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


if __name__ == '__main__':
    main()
