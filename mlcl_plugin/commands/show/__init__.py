# SPDX-License-Identifier: Apache-2.0
"""Draw attention, neighbours, a map, prototypes or curves."""

import argparse

from ...command_line import CommandParser, add_subcommands
from . import attention, curves, map, neighbours, prototypes

PICTURES = {
    'attention': attention,
    'neighbours': neighbours,
    'map': map,
    'prototypes': prototypes,
    'curves': curves,
}


def add_arguments(parser: CommandParser) -> None:
    """Add the commands of this command."""
    parser.description = 'Draw a picture, as PNG, SVG or PDF by the name of the file'
    add_subcommands(parser, PICTURES, 'picture')


def run(args: argparse.Namespace) -> int:
    """Draw what was chosen."""
    return PICTURES[args.picture].run(args)
