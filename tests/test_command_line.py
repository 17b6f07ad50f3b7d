# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.command_line import one_line_errors, to_flags


def fail(message, capsys):
    with pytest.raises(SystemExit) as error, one_line_errors('tool', {'thr': '--thr'}):
        raise ValueError(message)
    assert error.value.code == 2
    return capsys.readouterr().err


def test_commands_for_a_terminal_are_escaped(capsys):
    text = fail("a\x1b[31m\nb\x9b: set thr=0.5, or '\u202e'", capsys)
    assert text == "tool: a\\x1b[31m b\\x9b: set --thr 0.5, or '\\u202e'\n"


def test_endless_names_are_cut_off(capsys):
    text = fail('x' * 1_000_000, capsys)
    assert len(text) < 4100 and text.endswith('... (1,000,000 characters)\n')


def test_values_can_be_pasted_into_a_shell():
    flags = {'separator': '--separator', 'form': '--to'}
    assert to_flags("separator='|'", flags) == "--separator '|'"
    assert to_flags("separator=' '", flags) == "--separator ' '"
    assert to_flags("form='coco'", flags) == '--to coco'
