# SPDX-License-Identifier: Apache-2.0
"""Tell whether the running program is a command of this package.

The command reads its arguments before anything slow is imported, and registers the
modules itself (:func:`mlcl_plugin.register`). In every other program, ``import
mlcl_plugin`` registers them.
"""

import os.path
from collections.abc import Sequence

from .command_table import COMMANDS

PACKAGE = os.path.dirname(os.path.abspath(__file__))
TOOLS = (
    os.path.join(os.path.dirname(PACKAGE), 'tools'),
    os.path.join(PACKAGE, '.mim', 'tools'),
)
"""The folders of the tools: in a checkout beside the package, and when installed."""


def is_command(argv: Sequence[str], orig_argv: Sequence[str]) -> bool:
    """Tell whether a program is ``mlcl``, in any of its forms, or one of our tools.

    A script of a user that has the name of one, but another place, is not; nor is a
    process that a command has started, such as a worker of a dataloader.

    Args:
        argv (Sequence[str]): ``sys.argv``, while the package is imported.
        orig_argv (Sequence[str]): ``sys.orig_argv``, the words that started Python.
    """
    program = argv[0] if argv else ''
    # Python's multiprocessing gives its processes the arguments of their parent.
    if program not in orig_argv:
        return False
    if program == '-m':
        return ('-m', 'mlcl_plugin') in zip(orig_argv, orig_argv[1:])
    name = os.path.basename(program)
    if name.removesuffix('.exe') == 'mlcl':
        return os.path.dirname(os.path.realpath(program)) in _script_folders()
    tools = {os.path.basename(c.tool): c.tool for c in COMMANDS.values() if c.tool}
    if name not in tools:
        return False
    path = os.path.realpath(program)
    return any(path == os.path.realpath(os.path.join(d, tools[name])) for d in TOOLS)


def _script_folders() -> set[str]:
    """The folders that pip puts scripts into."""
    import sysconfig

    schemes = [sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme('user')]
    return {
        os.path.realpath(sysconfig.get_path('scripts', scheme)) for scheme in schemes
    }
