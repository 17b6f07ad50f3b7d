# SPDX-License-Identifier: Apache-2.0
"""List the recipes that come with the package."""

import argparse
import fnmatch
from collections.abc import Sequence

from ..command_line import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'List the recipes of the package, with data, backbone and, where there are '
        'any, the result and the weights. Any command takes such a name as its config, '
        'and such weights as a checkpoint'
    )
    parser.examples = ('', "efflite0 '*digits'")
    parser.add_argument(
        'patterns',
        nargs='*',
        metavar='PATTERN',
        help="part of a name, or a pattern in quotes, such as '*voc07' (default: all)",
    )
    parser.add_argument(
        '--paths', action='store_true', help='show the files in place of the methods'
    )


def run(args: argparse.Namespace) -> int:
    """List the recipes whose names match."""
    from ..recipes import (
        describe_recipe,
        measured_results,
        read_index,
        recipe_paths,
        recipe_root,
        suggest,
    )

    paths = recipe_paths()
    names = [name for name in paths if matches(name, args.patterns)]
    if not names:
        wanted = ' or '.join(args.patterns)
        raise ValueError(
            f'No recipe has {wanted} in its name. {suggest(args.patterns[0], paths)}'
            '`mlcl models` lists all.'
        )
    index = recipe_root() / 'model-index.yml'
    results, models = measured_results(index), read_index(index)
    titles = ['name', 'data', 'backbone', 'result', 'weights']
    rows = [[*titles, 'file' if args.paths else 'method']]
    for name in names:
        recipe = describe_recipe(name, paths[name])
        last = str(recipe.path) if args.paths else recipe.method
        result = results.get(name, '')
        weights = models.get(name, {}).get('Weights', '')
        row = [name, recipe.data, recipe.backbone, result, weights, last]
        rows.append([cell or '-' for cell in row])
    print_columns(rows)
    return 0


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name has one of some parts or fits one of some patterns."""
    return not patterns or any(
        fnmatch.fnmatch(name, p if set(p) & set('*?[') else f'*{p}*') for p in patterns
    )


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths))
        print('  '.join(cells).rstrip())
