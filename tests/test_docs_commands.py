# SPDX-License-Identifier: Apache-2.0
"""The command lines in the documents are read by the parsers of the commands."""

import argparse
import re
import shlex

import pytest

from mlcl_plugin.commands import make_parser
from tests.documented_commands import (
    PAGES,
    ROOT,
    command_lines,
    expand_braces,
    split_command,
)

SPAN = re.compile(r'(?<!`)`(?!`)([^`]+)`(?!`)')


def unknown_flags(text):
    """Flags in `mlcl COMMAND ... --flag` within a sentence, which may be shortened."""
    for span in SPAN.findall(re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)):
        if (found := split_command(' '.join(span.split()))) and found[1]:
            parser, words = parser_of(*found)
            known = parser._option_string_actions
            for word in words:
                if word.startswith('--') and word.partition('=')[0] not in known:
                    yield span


def parser_of(name, words):
    """The parser that reads the flags: that of a command within a command."""
    parser = make_parser(name)
    for action in parser._actions:
        if (
            isinstance(action, argparse._SubParsersAction)
            and words[0] in action.choices
        ):
            return action.choices[words[0]], words[1:]
    return parser, words


class WrongArguments(Exception):
    pass


@pytest.fixture
def read(monkeypatch):
    """Function that reads a command line and gives the message of an error."""

    def error(parser, message):
        raise WrongArguments(message)

    def read(name, words):
        try:
            make_parser(name).read(list(expand_braces(words)))
        except WrongArguments as error:
            return str(error)
        except SystemExit:  # --help
            return None

    monkeypatch.setattr(argparse.ArgumentParser, 'error', error)
    return read


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_command_lines(page, read):
    text = (ROOT / page).read_text(encoding='utf-8')
    wrong = [
        f'mlcl {name} {shlex.join(words)}: {message}'
        for name, words in command_lines(text)
        if (message := read(name, words))
    ]
    assert wrong == []
    assert list(unknown_flags(text)) == []


def test_what_the_check_sees(read):
    text = (
        '```shell\nA=1 mlcl train x.py --resume \\\n    --amp   # a comment\n'
        'mlcl infer photos/ run.{py,pth}\npython tools/fit.py --oops x --out y > z\n'
        'mlcl index query a.index b.jpg --label dog --lable cat\nls --foo\n```\n'
        'See `mlcl fit --classes`, `mlcl show map --dpi` and `mlcl fit --clases`.\n'
    )
    lines = list(command_lines(text))
    assert [name for name, _ in lines] == ['train', 'infer', 'fit', 'index']
    assert lines[0] == ('train', ['x.py', '--resume', '--amp'])
    assert list(expand_braces(lines[1][1])) == ['photos/', 'run.py', 'run.pth']
    messages = [read(*line) for line in lines]
    assert messages[:2] == [None, None]
    assert '--oops' in messages[2] and '--lable' in messages[3]
    assert list(unknown_flags(text)) == ['mlcl show map --dpi', 'mlcl fit --clases']
