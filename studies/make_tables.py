# SPDX-License-Identifier: Apache-2.0
"""Write docs/methods_tables.md and the plots from the files of results."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from method_report import NOTES, draw_methods, format_methods
from results_file import FOLDER
from suite import ROOT

PAGE = 'methods_tables.md'
HEAD = """\
<!-- Written by `python studies/make_tables.py`. Do not edit. -->
# Comparison of methods: tables

[methods.md](methods.md) says what follows from them."""


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--results',
        type=Path,
        default=FOLDER,
        help='folder with the files of results (default: studies/results)',
    )
    parser.add_argument(
        '--docs',
        type=Path,
        default=ROOT / 'docs',
        help='folder for methods_tables.md (default: docs)',
    )
    return parser.parse_args(args)


def format_suite(result: dict, pictures: Path) -> str:
    """Write the section of a suite.

    Args:
        result (dict): The content of a file of results.
        pictures (Path): Where its plot is, as seen from the page.

    Returns:
        str: Markdown.
    """
    path = (pictures / f'{result["name"]}.png').as_posix()
    return '\n\n'.join(
        [
            f'## {result["title"]}',
            format_methods(result),
            f'![{result["title"]}, as a plot]({path})',
        ]
    )


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    paths = sorted(args.results.glob('*.json'))
    results = [json.loads(path.read_text()) for path in paths]
    for result in results:
        draw_methods(result, args.results)
    pictures = Path(os.path.relpath(args.results, args.docs))
    sections = [format_suite(result, pictures) for result in results]
    if sections:
        sections = [*NOTES, *sections]
    else:
        sections = ['No results yet: `python studies/compare_methods.py SUITE`.']
    (args.docs / PAGE).write_text('\n\n'.join([HEAD, *sections]) + '\n')


if __name__ == '__main__':
    main()
