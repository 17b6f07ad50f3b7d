# SPDX-License-Identifier: Apache-2.0
"""What the commands share: their parser, options, ranges, errors in one line."""

import argparse
import math
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import LostProcessError
from .plain_text import printable

DEBUG = 'MLCL_DEBUG'
"""The environment variable that shows the traceback of every error."""
USER_ERRORS = (
    OSError,
    ValueError,
    ImportError,
    FloatingPointError,
    LostProcessError,
)
"""Errors that a user can mend; others are bugs and keep their traceback."""
LONGEST_ERROR = 4000
"""Characters of an error that are shown; names in files may be endless."""


def number(
    kind: type = int,
    least: float = -math.inf,
    most: float = math.inf,
) -> Callable[[str], float]:
    """Make an argparse type for finite numbers of a range.

    Args:
        kind (type): ``int`` or ``float``. Defaults to ``int``.
        least (float): The smallest number allowed. Defaults to no bound.
        most (float): The largest number allowed. Defaults to no bound.

    Returns:
        Callable: Reads the text of an option, or says which numbers are expected.

    Examples:
        >>> number(int, least=1)('3')
        3
    """
    name = 'an integer' if kind is int else 'a number'
    if least > -math.inf and most < math.inf:
        name += f' from {least} to {most}'
    elif least > -math.inf:
        name += f' of at least {least}'
    elif most < math.inf:
        name += f' of at most {most}'

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            raise argparse.ArgumentTypeError(f'expected {name}, got {text!r}')
        return value

    return read


class CommandParser(argparse.ArgumentParser):
    """Parser of a command, with what else a command says about its arguments.

    A module of :mod:`mlcl_plugin.commands` sets these in ``add_arguments``.

    Attributes:
        examples (tuple[str]): The arguments of commands that ``--help`` shows.
        flags (Mapping[str, str]): The flags of the library's arguments, see
            :func:`to_flags`.
        errors (tuple[type]): Errors that end the command with one line.
        intermixed (bool): Whether options may stand between arguments.
    """

    def __init__(self, command: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.examples: tuple[str, ...] = ()
        self.flags: Mapping[str, str] = {}
        self.errors: tuple[type[Exception], ...] = USER_ERRORS
        self.intermixed = False
        self._checks: list[Callable[[argparse.Namespace], None]] = []

    def add_check(self, check: Callable[[argparse.Namespace], None]) -> None:
        """Add a check of several arguments together.

        Args:
            check (Callable): Gets what was read, and raises ValueError with the message
                of the parser's error.
        """
        self._checks.append(check)

    def read(self, args: Sequence[str] | None = None) -> argparse.Namespace:
        """Read and check arguments.

        Args:
            args (Sequence[str], optional): The arguments. Defaults to those of the
                running program.

        Raises:
            SystemExit: With code 2 if they are wrong, 0 after ``--help``.
        """
        parse = self.parse_intermixed_args if self.intermixed else self.parse_args
        found = parse(args)
        try:
            self.check(found)
        except ValueError as error:
            self.error(str(error))
        return found

    def check(self, found: argparse.Namespace) -> None:
        """Run the checks of several arguments together.

        Raises:
            ValueError: If arguments do not fit each other.
        """
        for check in self._checks:
            check(found)

    def format_help(self) -> str:
        """The help, with the examples at its end."""
        if not self.examples:
            return super().format_help()
        lines = [f'  mlcl {self.command} {example}' for example in self.examples]
        return '\n'.join([super().format_help(), 'examples:', *lines, ''])


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and ``--local-rank``, as MMPretrain's tools have them."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch sets it; torchrun has replaced that.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_subcommands(
    parser: CommandParser, modules: Mapping[str, ModuleType], what: str
) -> None:
    """Let a command have commands of its own.

    Args:
        parser (CommandParser): The command. It gets flags, errors and examples of all.
        modules (Mapping[str, ModuleType]): By name, what has ``add_arguments`` and
            ``run`` as a command has. The first line of its docstring says what it does.
        what (str): What is chosen, in one word, for the help.
    """
    parsers = parser.add_subparsers(dest=what, required=True, metavar=what.upper())
    for name, module in modules.items():
        own = parsers.add_parser(
            name,
            command=f'{parser.command} {name}',
            help=(module.__doc__ or '').splitlines()[0].rstrip('.'),
        )
        module.add_arguments(own)
        own.add_argument('--debug', action='store_true', default=argparse.SUPPRESS)
        parser.flags = {**parser.flags, **own.flags}
        parser.errors = tuple(dict.fromkeys([*parser.errors, *own.errors]))
        parser.examples += tuple(f'{name} {example}' for example in own.examples)
    parser.add_check(lambda found: parsers.choices[getattr(found, what)].check(found))


def to_flags(message: str, flags: Mapping[str, str]) -> str:
    """Write arguments of the library as flags of a tool.

    Args:
        message (str): A message of the library that names arguments as ``name=value``.
        flags (Mapping[str, str]): The flag of each argument.

    Returns:
        str: The message with ``flag value`` in place of ``name=value``.

    Examples:
        >>> to_flags("Set unknown='drop' or num_workers=0.",
        ...          {'unknown': '--unknown', 'num_workers': '--workers'})
        'Set --unknown drop or --workers 0.'
        >>> to_flags("Set separator='|'.", {'separator': '--separator'})
        "Set --separator '|'."
    """
    for name, flag in flags.items():
        pattern = rf'(?<![\w.])({re.escape(name)})=(?:\'([^\']*)\'|([\w-]+(?:\.\w+)*))'
        message = re.sub(pattern, _FlagWriter(flag), message)
    return message


@contextmanager
def one_line_errors(
    tool: str,
    flags: Mapping[str, str] | None = None,
    errors: tuple[type[Exception], ...] = USER_ERRORS,
    debug: str = f'{DEBUG}=1',
) -> Iterator[None]:
    """End a tool with one line on stderr and exit code 2 where its input is wrong.

    With the environment variable :data:`DEBUG` the traceback precedes the line. In a
    run of several processes the line names the rank.

    Args:
        tool (str): The tool's name; the line starts with it.
        flags (Mapping[str, str], optional): The flags of the library's arguments, see
            :func:`to_flags`. Defaults to none.
        errors (tuple[type]): Errors to end with. Defaults to :data:`USER_ERRORS`.
        debug (str): What shows the traceback, for a hint. Defaults to the variable.

    Raises:
        SystemExit: With code 2 in place of one of ``errors``.
    """
    try:
        yield
    except errors as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        text = printable(to_flags(_message(error), flags or {}))
        if len(text) > LONGEST_ERROR:
            text = f'{text[:LONGEST_ERROR]}... ({len(text):,} characters)'
        if not os.environ.get(DEBUG) and _needs_traceback(error):
            text += f' ({debug} shows where)'
        print(f'{tool}{_rank()}: {text}', file=sys.stderr)
        raise SystemExit(2) from error


def _message(error: Exception) -> str:
    """The message of an error in one line, never empty."""
    text = str(error)
    if 'Original Traceback (most recent call last)' in text:
        # A worker of a dataloader has sent its whole traceback as the message.
        name = re.escape(type(error).__name__)
        text = re.split(rf'^(?:\w+\.)*{name}: ', text, flags=re.MULTILINE)[-1]
    return ' '.join(text.split()) or type(error).__name__


def _needs_traceback(error: Exception) -> bool:
    """Whether the message may not say what is wrong: it was not written here.

    Messages of the operating system name the file.
    """
    if isinstance(error, OSError):
        return False
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get('__name__', '').partition('.')[0] != 'mlcl_plugin'


def _rank() -> str:
    """The process in a run of several, as the launchers tell it."""
    if int(os.environ.get('WORLD_SIZE') or 1) > 1:
        return f' (rank {os.environ.get("RANK", "?")})'
    return ''


class _FlagWriter:
    """Writes a match of ``name=value`` as a flag; a value of True is the flag alone."""

    def __init__(self, flag: str) -> None:
        self.flag = flag

    def __call__(self, match: re.Match) -> str:
        if match[3] == 'True':
            return self.flag
        return f'{self.flag} {shlex.quote(match[3] if match[2] is None else match[2])}'


TRUST_FLAGS = {
    'allow_unsafe': '--allow-unsafe-checkpoint',
    'allow_other_labels': '--allow-other-labels',
}
"""Flags of :func:`add_trust_options`, for :func:`to_flags`."""


def add_trust_options(parser: argparse.ArgumentParser, labels: bool = True) -> None:
    """Add the options that turn off checks of a checkpoint.

    Args:
        parser (argparse.ArgumentParser): Gets ``--allow-unsafe-checkpoint`` and
            ``--allow-other-labels``.
        labels (bool): Whether the tool compares labels. Defaults to True.
    """
    parser.add_argument(
        TRUST_FLAGS['allow_unsafe'],
        action='store_true',
        help='unpickle checkpoints without a check; such a file may run code, so use '
        'it only for files of authors whom you trust',
    )
    if labels:
        parser.add_argument(
            TRUST_FLAGS['allow_other_labels'],
            action='store_true',
            help='go on where the checkpoint names other labels, or in another order',
        )


class _CfgOptions(argparse.Action):
    """MMEngine's action, with an error of the parser for what it cannot read."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence | None,
        option_string: str | None = None,
    ) -> None:
        # Not at the top of the file: `--help` should not wait for it.
        from mmengine.config import DictAction

        action = DictAction(self.option_strings, self.dest)
        try:
            action(parser, namespace, values, option_string)
        # MMEngine asserts that brackets are in pairs.
        except (ValueError, AssertionError):
            parser.error(f'{option_string}: expected {self.metavar} ..., got {values}')


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``config``, which :func:`mlcl_plugin.engine.load_config` reads."""
    parser.add_argument(
        'config',
        help='config file, or the name of a recipe (`mlcl models` lists them)',
    )


def add_dump_classes(parser: argparse.ArgumentParser) -> None:
    """Add ``--classes``, for score dumps that do not name their labels."""
    parser.add_argument(
        '--classes',
        type=Path,
        help='a text file with the names of the labels, one per line, for a .pkl of '
        "MMPretrain's tools/test.py",
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, as MMPretrain's tools have it.

    Args:
        parser (argparse.ArgumentParser): Gets the option. Its value is a dict by dotted
            key, or None.
    """
    add_key_values(
        parser,
        '--cfg-options',
        'KEY=VALUE',
        'settings to override in the config, also nested (a.b=1) and in lists: '
        'key="[a,b]" or key="[(a,b),(c,d)]", quoted and without spaces',
    )


def add_key_values(
    parser: argparse.ArgumentParser, flag: str, metavar: str, text: str
) -> None:
    """Add an option for values of the config by dotted key.

    Args:
        parser (argparse.ArgumentParser): Gets the option. Its value is a dict, or None.
        flag (str): The option.
        metavar (str): The form of an entry, for the help.
        text (str): The help.
    """
    parser.add_argument(flag, nargs='+', action=_CfgOptions, metavar=metavar, help=text)
