# SPDX-License-Identifier: Apache-2.0
import argparse
from pathlib import Path

import pytest
from mmengine.config import Config, DictAction
from torch.utils.data import DataLoader

from mlcl_plugin.command_line import (
    DEBUG,
    add_cfg_options,
    one_line_errors,
    to_flags,
)
from mlcl_plugin.engine import check_steps

HINT = f' ({DEBUG}=1 shows where)\n'


def end(function, capsys):
    """What a tool writes to stderr when it ends with code 2."""
    with pytest.raises(SystemExit) as error, one_line_errors('tool', {'thr': '--thr'}):
        function()
    assert error.value.code == 2
    return capsys.readouterr().err


def fail(message):
    raise ValueError(message)


def test_commands_for_a_terminal_are_escaped(capsys):
    text = end(lambda: fail("a\x1b[31m\nb\x9b: set thr=0.5, or '\u202e'"), capsys)
    assert text == "tool: a\\x1b[31m b\\x9b: set --thr 0.5, or '\\u202e'" + HINT


def test_endless_names_are_cut_off(capsys):
    text = end(lambda: fail('x' * 1_000_000), capsys)
    assert len(text) < 4100 and text.endswith('... (1,000,000 characters)' + HINT)


def test_no_message(capsys):
    assert end(lambda: fail(''), capsys) == 'tool: ValueError' + HINT


def test_messages_for_users_need_no_traceback(capsys):
    text = end(lambda: check_steps(Config()), capsys)
    assert text.startswith('tool: StepwiseRunner expects') and HINT not in text
    text = end(lambda: Path('gone/file').read_text(), capsys)
    assert text == "tool: [Errno 2] No such file or directory: 'gone/file'\n"


def test_traceback_on_demand(monkeypatch, capsys):
    monkeypatch.setenv(DEBUG, '1')
    first, *_, last = end(lambda: fail('a\nb'), capsys).splitlines()
    assert first == 'Traceback (most recent call last):' and last == 'tool: a b'


@pytest.mark.parametrize('error', [KeyError, TypeError, RuntimeError])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(error), one_line_errors('tool'):
        raise error('a')


def test_rank_of_several(monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', '1')
    monkeypatch.setenv('RANK', '0')
    assert end(lambda: fail('a'), capsys) == 'tool: a' + HINT
    monkeypatch.setenv('WORLD_SIZE', '4')
    monkeypatch.setenv('RANK', '3')
    assert end(lambda: fail('a'), capsys) == 'tool (rank 3): a' + HINT


class Broken(list):
    """A dataset whose samples cannot be read."""

    def __getitem__(self, index):
        try:
            fail('first')
        except ValueError as error:
            raise ValueError(f'sample {index}: a\nb') from error


def test_error_of_a_worker(capsys):
    """torch sends its whole traceback as the message."""
    loader = DataLoader(Broken([1]), num_workers=1)
    assert end(lambda: list(loader), capsys) == 'tool: sample 0: a b' + HINT


def test_values_can_be_pasted_into_a_shell():
    flags = {'separator': '--separator', 'form': '--to'}
    assert to_flags("separator='|'", flags) == "--separator '|'"
    assert to_flags("separator=' '", flags) == "--separator ' '"
    assert to_flags("form='coco'", flags) == '--to coco'


@pytest.fixture
def cfg_options(capsys):
    """Function that reads options; an error of the parser is its last line."""
    parser = argparse.ArgumentParser('tool')
    add_cfg_options(parser)

    def read(*options):
        try:
            return parser.parse_args(options).cfg_options
        except SystemExit:
            return capsys.readouterr().err.splitlines()[-1]

    return read


def test_cfg_options(cfg_options):
    assert cfg_options() is None
    options = cfg_options('--cfg-options', 'a.b=1', 'c=[1,2]', 'd=[(1,x),(2,y)]')
    assert options == {'a.b': 1, 'c': [1, 2], 'd': [(1, 'x'), (2, 'y')]}


@pytest.mark.parametrize(
    'options',
    [
        ['a=1', 'b=1.5', 'c=1e-3', 'd=-2', 'e=007', 'f=0x1f', 'g=nan'],
        ['a=True', 'b=false', 'c=None', 'd=none', 'e=', 'f=text', 'g=a=b'],
        ['a=1,2', 'b=[1,2]', 'c=(1,2)', 'd=[(a,b),(c,[1,2])]', 'e=[]', 'f=()'],
        ["a='x'", 'b="x y"', "c=['p','q']", 'd=a b', 'e= 1', 'f=[a b,c]'],
        ['a.b.0.c=1', 'a=1', 'a=2', 'steps.step1.x=[x]', 'path=/a/b.py', 'url=s://x'],
        ['a={1:2}', 'b=*', 'c=é', 'd=,', 'e=[,]', 'f=[1,]', 'g=[[1,2],3]'],
    ],
)
def test_cfg_options_are_those_of_mmengine(cfg_options, options):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    expected = parser.parse_args(['--cfg-options', *options]).cfg_options
    assert repr(cfg_options('--cfg-options', *options)) == repr(expected)


def test_the_last_cfg_options_count_as_in_mmengine(cfg_options):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    words = ['--cfg-options', 'a=1', '--cfg-options', 'b=2']
    assert cfg_options(*words) == parser.parse_args(words).cfg_options


@pytest.mark.parametrize('option', ['a.b', 'a=[1,2', 'a=[(1]'])
def test_cfg_options_that_cannot_be_read(cfg_options, option):
    line = cfg_options('--cfg-options', 'c=1', option)
    assert line.startswith('tool: error: --cfg-options: expected KEY=VALUE')
    assert option in line
