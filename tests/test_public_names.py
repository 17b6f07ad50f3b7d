# SPDX-License-Identifier: Apache-2.0
"""Nothing that users write has gone or has another default: see public_names.py."""

import importlib
import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parent / 'public_names.py'
spec = importlib.util.spec_from_file_location('public_names', PATH)
names = importlib.util.module_from_spec(spec)
spec.loader.exec_module(names)

LISTED = json.loads(names.FILE.read_text())


@pytest.fixture(scope='module')
def registered():
    return names.registered(own=False)


@pytest.mark.parametrize('key', LISTED['registered'])
def test_registered_name_and_config_fields(registered, key):
    listed = {key: LISTED['registered'][key]}
    assert list(names.missing(listed, registered)) == []


@pytest.mark.parametrize('module', LISTED['exported'])
def test_exported_names(module):
    found = importlib.import_module(module)
    listed = LISTED['exported'][module]
    assert sorted(set(listed) - set(found.__all__)) == []
    assert [name for name in found.__all__ if not hasattr(found, name)] == []


def test_parameters_of_apis():
    assert list(names.missing(LISTED['apis'], names.faces())) == []


@pytest.mark.parametrize('tool', LISTED['tools'])
def test_flags(tool):
    assert list(names.missing(LISTED['tools'][tool], names.flags(tool))) == []


@pytest.mark.parametrize('command', LISTED['commands'])
def test_commands(command):
    assert command in names.COMMANDS
    found = names.flags_of(names.make_parser(command))
    assert list(names.missing(LISTED['commands'][command], found)) == []


class TestList:
    """The list finds what is gone, and keeps it when it is updated."""

    listed = dict(a=dict(x='1', y=None), b=['p', 'q'], c='0')

    def test_same(self):
        found = dict(a=dict(x='1', y=None, z='2'), b=['q', 'r', 'p'], c='0', d={})
        assert list(names.missing(self.listed, found)) == []
        assert names.merge(self.listed, found) == dict(
            a=dict(x='1', y=None, z='2'), b=['p', 'q', 'r'], c='0', d={}
        )

    def test_gone_and_changed(self):
        found = dict(a=dict(x='2'), b=['q'])
        assert list(names.missing(self.listed, found)) == [
            'a x: was 1, is 2',
            'a y: gone',
            'b: p is gone',
            'c: gone',
        ]
        assert names.merge(self.listed, found) == self.listed


class Base:
    def __init__(self, weight, scale=1.0):
        pass


class Child(Base):
    def __init__(self, *args, scale=2.0, name='a', **kwargs):
        super().__init__(*args, scale=scale, **kwargs)


class GrandChild(Child):
    pass


class Closed(Base):
    def __init__(self, name):
        super().__init__(1.0)


@pytest.mark.parametrize(
    ('cls', 'expected'),
    [
        (Base, dict(weight=None, scale='1.0')),
        (Child, dict(weight=None, scale='2.0', name="'a'")),
        (GrandChild, dict(weight=None, scale='2.0', name="'a'")),
        (Closed, dict(name=None)),
    ],
)
def test_fields_follow_keyword_arguments(cls, expected):
    assert names.fields(cls, own=False) == expected
    # Those of other packages depend on their versions.
    assert names.fields(cls, own=True) == {}


def test_tool_without_a_parser(tmp_path, monkeypatch):
    (tmp_path / 'tool.py').write_text('def main(): pass')
    monkeypatch.setattr(names, 'ROOT', tmp_path)
    with pytest.raises(ValueError, match=r'tool\.py ended without parsing'):
        names.flags('tool.py')
