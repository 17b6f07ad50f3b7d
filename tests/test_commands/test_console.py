# SPDX-License-Identifier: Apache-2.0
import os
import sys

import pytest

import mlcl_plugin
from mlcl_plugin.command_line import DEBUG
from mlcl_plugin.command_table import COMMANDS
from mlcl_plugin.commands import evaluate, main, run_tool


@pytest.fixture
def command(monkeypatch):
    """Function that lets `mlcl evaluate` do something else."""
    # What --debug sets is removed again.
    monkeypatch.setenv(DEBUG, '')

    def replace(function):
        monkeypatch.setattr(evaluate, 'run', function)

    return replace


def raises(error):
    def run(args):
        raise error

    return run


def test_overview(capsys):
    assert main(['--help']) == 0
    out, err = capsys.readouterr()
    for name, command in COMMANDS.items():
        (line,) = (x for x in out.splitlines() if x.split()[:1] == [name])
        assert line.endswith(command.summary)
    assert max(map(len, out.splitlines())) <= 80 and not err


def test_no_command(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith('usage: mlcl COMMAND')


def test_version(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'mlcl_plugin {mlcl_plugin.__version__}\n'


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('trian', "'trian'. Did you mean train? "),
        ('xyz', "'xyz'. `mlcl --help`"),
        ('a\x1b[31m', "'a\\x1b[31m'. "),
    ],
)
def test_unknown_command(name, hint, capsys):
    assert main([name]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count('\n') == 1
    assert err.startswith('mlcl: There is no command ') and hint in err


def test_exit_code_and_arguments(command):
    seen = []
    command(lambda args: seen.append(args) or 1)
    assert main(['evaluate', 'a.csv', '--thr', '0.2']) == 1
    assert seen[0].dumps == ['a.csv'] and seen[0].thr == 0.2
    assert seen[0].words == ['a.csv', '--thr', '0.2']


def test_arguments_of_the_program(command, monkeypatch):
    seen = []
    command(lambda args: seen.append(args.dumps) or 0)
    monkeypatch.setattr(sys, 'argv', ['mlcl', 'evaluate', 'a.csv'])
    assert main() == 0
    monkeypatch.setattr(sys, 'argv', ['tools/evaluate.py', 'b.csv'])
    assert run_tool('evaluate') == 0
    assert seen == [['a.csv'], ['b.csv']]


def test_error_in_a_line_with_flags(command, ends_with_line):
    command(raises(ValueError('Set thr=0.5.')))
    with ends_with_line(r'^mlcl evaluate: Set --thr 0\.5\.'):
        main(['evaluate', 'a.csv'])
    with ends_with_line(r'^evaluate: Set --thr 0\.5\.'):
        run_tool('evaluate', ['a.csv'])


def test_check_of_arguments(capsys):
    with pytest.raises(SystemExit, match='^2$'):
        main(['evaluate', *'abcdefg'])
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == 'mlcl evaluate: error: at most 6 dumps, got 7'


def test_debug(command, capsys):
    def run(args):
        # Processes that it starts see it, too.
        assert os.environ[DEBUG] == '1'
        raise ValueError('no')

    command(run)
    with pytest.raises(SystemExit, match='^2$'):
        main(['evaluate', 'a.csv', '--debug'])
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == 'Traceback (most recent call last):'
    assert last == 'mlcl evaluate: no'


def test_interruption(command, capsys):
    command(raises(KeyboardInterrupt()))
    assert main(['evaluate', 'a.csv']) == 130
    assert capsys.readouterr().err == 'mlcl evaluate: interrupted\n'
    with pytest.raises(KeyboardInterrupt):
        main(['evaluate', 'a.csv', '--debug'])


def test_reader_that_leaves(command, monkeypatch):
    def run(args):
        for _ in range(10_000):
            print('a line')

    command(run)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, 'w') as pipe:
        monkeypatch.setattr(sys, 'stdout', pipe)
        assert main(['evaluate', 'a.csv']) == 1


def test_other_pipe_that_breaks(command, ends_with_line):
    command(raises(BrokenPipeError('a worker')))
    with ends_with_line('^mlcl evaluate: a worker'):
        main(['evaluate', 'a.csv'])


def test_bugs_keep_their_traceback(command):
    command(raises(KeyError('a')))
    with pytest.raises(KeyError):
        main(['evaluate', 'a.csv'])


def test_stack_is_needed_or_not(command, monkeypatch, capsys, ends_with_line):
    def fail():
        print('said on the way')
        raise ImportError('no torch here')

    monkeypatch.setattr(mlcl_plugin, 'register', fail)
    with ends_with_line('^mlcl evaluate: no torch here'):
        main(['evaluate', 'a.csv'])
    assert main(['models', 'digits']) == 0
    assert 'mlcl_resnet_digits' in capsys.readouterr().out


def test_stdout_is_for_results(command, monkeypatch, capsys):
    monkeypatch.setattr(mlcl_plugin, 'register', lambda: print('a note'))
    command(lambda args: print('a result') or 0)
    main(['evaluate', 'a.csv'])
    assert capsys.readouterr() == ('a result\n', 'a note\n')
