# SPDX-License-Identifier: Apache-2.0
"""Examine the installation: packages, devices, and a pass through a tiny model."""

import argparse
import traceback

from ..command_line import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        'Examine the installation: versions, devices, threads, and one pass through a '
        'tiny model. Exit code 0: all works. 1: something is broken; the last line '
        'says what, and how to mend it'
    )
    parser.examples = ('', '--debug')


def run(args: argparse.Namespace) -> int:
    """Print what is found, as it is found.

    Returns:
        int: The exit code: 1 if a part is broken.
    """
    from ..doctor import examine

    for fact in examine():
        mark = 'BROKEN: ' if fact.error else ''
        print(f'{fact.part:18}  {mark}{fact.text}', flush=True)
        if fact.error:
            if args.debug:
                traceback.print_exception(fact.error)
            return 1
    print('Everything that training and inference need works.')
    return 0
