# SPDX-License-Identifier: Apache-2.0
"""The console script ``mlcl``; each command is a module of this package.

A module has ``add_arguments(parser)``, which imports nothing slow, and ``run(args)``,
which imports what it needs and returns the exit code.
"""

from .console import main, make_parser, run_tool

__all__ = ['main', 'make_parser', 'run_tool']
