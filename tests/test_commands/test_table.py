# SPDX-License-Identifier: Apache-2.0
"""Every command keeps the contract of the room, and offers what the library takes."""

import importlib
import inspect
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from mlcl_plugin.command_table import COMMANDS, module_name
from mlcl_plugin.commands import (
    convert,
    demo,
    digits,
    digits_demo,
    evaluate,
    infer,
    make_parser,
    test,
    thresholds,
)
from mlcl_plugin.datasets.digit_scenes import SceneOptions
from mlcl_plugin.datasets.forms import FORMS
from mlcl_plugin.datasets.transforms.load_image import MAX_PIXELS
from mlcl_plugin.digits_demo.parts import DemoOptions
from mlcl_plugin.evaluation.cross_fitting import CALIBRATIONS
from mlcl_plugin.evaluation.score_dump import SUFFIXES
from mlcl_plugin.recipes import recipe_paths
from mlcl_plugin.visualization.precision_recall_plot import COLOURS
from mlcl_plugin.web_demo.uploads import MEGABYTE, Limits

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
each_command = pytest.mark.parametrize('name', COMMANDS)


@each_command
def test_contract(name):
    module = importlib.import_module(f'mlcl_plugin.commands.{module_name(name)}')
    assert list(inspect.signature(module.add_arguments).parameters) == ['parser']
    assert list(inspect.signature(module.run).parameters) == ['args']
    # A heading above the arguments, and one line in the overview.
    assert make_parser(name).description
    assert '\n' not in COMMANDS[name].summary and COMMANDS[name].summary[0].islower()


@each_command
def test_examples_are_commands(name, capsys):
    parser = make_parser(name, f'mlcl {name}')
    text = parser.format_help()
    lines = text.partition('\nexamples:\n')[2].splitlines()
    assert len(lines) >= 2, 'a command has two examples'
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ['mlcl', name]
        args = parser.read(words[2:])
        config = getattr(args, 'config', None)
        if config not in (None, 'my_config.py'):
            assert config in recipe_paths()


def test_modules_are_commands():
    folder = ROOT / 'mlcl_plugin/commands'
    modules = {p.stem for p in folder.glob('*.py')}
    # A command with commands of its own is a package.
    modules |= {p.parent.name for p in folder.glob('*/__init__.py')}
    assert modules - {'__init__', 'console'} == set(map(module_name, COMMANDS))


def test_tools_are_commands():
    tools = {p.relative_to(TOOLS).as_posix(): p for p in TOOLS.rglob('*.py')}
    named = {c.tool: name for name, c in COMMANDS.items() if c.tool}
    assert set(named) == set(tools)
    for tool, path in tools.items():
        text = path.read_text()
        assert f"return run_tool('{named[tool]}', args)" in text
        assert f'the same as ``mlcl {named[tool]}``' in text


def test_choices_are_those_of_the_library():
    """A command does not import them, so that its help is fast."""
    assert sorted(FORMS) == sorted(convert.FORMS)
    assert CALIBRATIONS == thresholds.CALIBRATIONS
    assert SUFFIXES == test.SUFFIXES
    assert MAX_PIXELS == infer.MAX_PIXELS
    limits = Limits(round(demo.MAX_MEGABYTES * MEGABYTE), demo.MAX_PIXELS)
    assert limits == Limits()
    assert len(COLOURS) == evaluate.MAX_DUMPS


def test_defaults_are_those_of_the_library():
    given = {field.name: (field.type, field.default) for field in fields(SceneOptions)}
    listed = {name: values[:2] for name, values in digits.OPTIONS.items()}
    assert listed == given
    args = make_parser('digits-demo').read([])
    for name in (*digits_demo.NUMBERS, 'num_images', 'seed', 'resume'):
        assert getattr(args, name) == getattr(DemoOptions, name)
