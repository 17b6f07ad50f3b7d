# SPDX-License-Identifier: Apache-2.0
"""Read the name of a command and its arguments, and run it."""

import argparse
import difflib
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import mlcl_plugin

from ..command_line import DEBUG, CommandParser, one_line_errors
from ..command_table import COMMANDS, module_name
from ..plain_text import printable
from ..version import __version__

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""


def main(args: Sequence[str] | None = None) -> int:
    """Run ``mlcl``.

    Args:
        args (Sequence[str], optional): The name of a command and its arguments.
            Defaults to those of the running program.

    Returns:
        int: The exit code.

    Raises:
        SystemExit: With code 2 if something is wrong with the input, 0 after ``--help``
            of a command.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] in (['-h'], ['--help']):
        print(overview())
        return 0
    if words == ['--version']:
        print(f'mlcl_plugin {__version__}')
        return 0
    if not words:
        print(overview(), file=sys.stderr)
        return 2
    name = words[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f'Did you mean {near[0]}? ' if near else ''
        print(
            f"mlcl: There is no command '{printable(name)}'. {hint}"
            '`mlcl --help` lists the commands.',
            file=sys.stderr,
        )
        return 2
    return _run(name, words[1:], f'mlcl {name}', f'mlcl {name}')


def run_tool(name: str, args: Sequence[str] | None = None) -> int:
    """Run a command as one of the files in ``tools/``.

    Args:
        name (str): The name of the command.
        args (Sequence[str], optional): Its arguments. Defaults to those of the running
            program.

    Returns:
        int: The exit code.
    """
    tool = COMMANDS[name].tool or name
    return _run(name, args, None, Path(tool).stem)


def overview() -> str:
    """What ``mlcl --help`` shows."""
    width = max(map(len, COMMANDS))
    groups: dict[str, list[str]] = {}
    for name, command in COMMANDS.items():
        line = f'  {name:{width}}  {command.summary}'
        groups.setdefault(command.group, []).append(line)
    return '\n'.join(
        [
            'usage: mlcl COMMAND [arguments]',
            '       mlcl COMMAND --help',
            '       mlcl --help | --version',
            '',
            'Multi-label image classification by label-wise contrast, for MMPretrain.',
            *(
                line
                for group, lines in groups.items()
                for line in ['', f'{group}:', *lines]
            ),
            '',
            'Exit codes: 0 done; 1 done, with a finding; 2 wrong input, in one line, '
            'or with',
            f'the traceback by --debug or {DEBUG}=1; 130 interrupted.',
        ]
    )


def make_parser(name: str, prog: str | None = None) -> CommandParser:
    """Make the parser of a command.

    Args:
        name (str): The name of the command.
        prog (str, optional): What the help calls it. Defaults to the name of the
            running program.
    """
    module = _module(name)
    parser = CommandParser(name, prog=prog)
    module.add_arguments(parser)
    parser.add_argument(
        '--debug', action='store_true', help=f'show tracebacks, as {DEBUG}=1 does'
    )
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f'.{module_name(name)}', __package__)


def _run_until_closed(
    run: Callable[[argparse.Namespace], int], args: argparse.Namespace
) -> int:
    """Run a command; end it with 1 where the reader of stdout has closed the pipe."""
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:
            # What is buffered is dropped.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        # Another pipe.
        raise


def _leave_out_notes() -> None:
    """Keep notes to developers out of what a command logs without a runner."""
    # They take seconds to import.
    from mmengine.logging import MMLogger

    from ..engine.log_notes import leave_out_notes

    leave_out_notes(MMLogger.get_current_instance())


def _register() -> None:
    """Import the stack, and keep its objects from being searched for garbage.

    MMEngine searches all objects with every dataset that it builds. Those of the
    imports stay anyway, and are half a million.
    """
    first = 'mmpretrain' not in sys.modules
    mlcl_plugin.register()
    if first:
        gc.freeze()


def _run(name: str, args: Sequence[str] | None, prog: str | None, label: str) -> int:
    parser = make_parser(name, prog)
    words = list(sys.argv[1:] if args is None else args)
    try:
        with one_line_errors(label, parser.flags, parser.errors, '--debug'):
            parsed = parser.read(words)
            # For a command that says how it was called.
            parsed.words = words
            if parsed.debug:
                # Processes that are started from here show them, too.
                os.environ[DEBUG] = '1'
            if COMMANDS[name].needs_stack:
                # stdout is for results only.
                with redirect_stdout(sys.stderr):
                    _register()
                _leave_out_notes()
            return _run_until_closed(_module(name).run, parsed)
    except KeyboardInterrupt:
        if os.environ.get(DEBUG):
            raise
        print(f'{label}: interrupted', file=sys.stderr)
        return INTERRUPTED
