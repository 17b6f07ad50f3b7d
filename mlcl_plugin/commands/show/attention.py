# SPDX-License-Identifier: Apache-2.0
"""Where a model looks for each label, present against absent."""

import argparse

from ...command_line import CommandParser
from .. import attention


def add_arguments(parser: CommandParser) -> None:
    """Add the arguments of ``mlcl attention``, with another layout as default."""
    attention.add_arguments(parser)
    parser.set_defaults(layout='page')


def run(args: argparse.Namespace) -> int:
    """Draw the page."""
    return attention.run(args)
