# SPDX-License-Identifier: Apache-2.0
"""A short run of fuzz.py, with inputs that hypothesis chooses."""

import importlib.util
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

spec = importlib.util.spec_from_file_location(
    'fuzz', Path(__file__).with_name('fuzz.py')
)
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)


@pytest.mark.skipif(not hasattr(signal, 'alarm'), reason='needs alarms')
@pytest.mark.parametrize('name', fuzz.READERS)
def test_reader(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp('fuzz')
    reader = fuzz.READERS[name](folder / name)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.integers(0, 2**32))
    def check(seed):
        results = fuzz.feed(reader, 1, seed)
        assert not results.faults, results.examples

    check()


class Broken(fuzz.DecisionFiles):
    """A reader with faults."""

    def read(self, path):
        if self.kind == 'hang':
            raise fuzz.HangError
        if self.kind == 'no name':
            raise ValueError('some text')
        raise KeyError('x')


@pytest.mark.parametrize(
    ('kind', 'fault'),
    [
        ('hang', 'more than 10 s'),
        ('no name', 'no name of the file: some text'),
        ('other', 'KeyError in test_fuzz.py'),
    ],
)
def test_faults_are_found(kind, fault, tmp_path):
    reader = Broken(tmp_path / 'broken')
    reader.kind = kind
    results = fuzz.feed(reader, 3, 7)
    assert results.number == 3 and results.read == 0
    ((text, times),) = results.faults.items()
    assert text.startswith(fault) and times == 3
    assert results.examples[text] == '--seed 7'
