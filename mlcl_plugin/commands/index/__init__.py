# SPDX-License-Identifier: Apache-2.0
"""Find photographs whose label is like that of another."""

import argparse

from ...command_line import CommandParser, add_subcommands
from . import build, query

PARTS = {'build': build, 'query': query}


def add_arguments(parser: CommandParser) -> None:
    """Add the commands of this command."""
    parser.description = (
        'Make an index of the label-wise embeddings of photographs, and find those '
        'whose dog is like the dog of another photograph'
    )
    add_subcommands(parser, PARTS, 'part')


def run(args: argparse.Namespace) -> int:
    """Run what was chosen."""
    return PARTS[args.part].run(args)
