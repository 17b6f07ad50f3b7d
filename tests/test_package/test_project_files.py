# SPDX-License-Identifier: Apache-2.0
"""Files about the project are valid and agree with each other."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

from mlcl_plugin import __version__

ROOT = Path(__file__).resolve().parents[2]
YAML_FILES = [
    'CITATION.cff',
    '.pre-commit-config.yaml',
    'model-index.yml',
    *(path.relative_to(ROOT).as_posix() for path in ROOT.glob('.github/**/*.yml')),
]
MAKE = re.compile(r'(?<![\w-])make ([a-z][a-z-]*)')
CALLERS = [
    'CONTRIBUTING.md',
    'README.md',
    '.ci/run',
    '.pre-commit-config.yaml',
    '.github/workflows/ci.yml',
    '.github/PULL_REQUEST_TEMPLATE.md',
]


def read(name):
    return (ROOT / name).read_text(encoding='utf-8')


def targets():
    return set(re.findall(r'^([a-z][a-z-]*):', read('Makefile'), re.M))


@pytest.mark.parametrize('name', YAML_FILES)
def test_yaml_loads(name):
    assert isinstance(yaml.safe_load(read(name)), dict)


def test_citation():
    citation = yaml.safe_load(read('CITATION.cff'))
    required = {'cff-version', 'message', 'title', 'authors'}
    assert required <= citation.keys()
    assert citation['version'] == __version__
    (paper,) = citation['references']
    # The README cites the same paper.
    for value in (paper['title'], paper['volume'], paper['year'], paper['journal']):
        assert str(value) in read('README.md')


def test_changelog_has_the_version():
    versions = re.findall(r'^## \[(.+?)\]', read('CHANGELOG.md'), re.M)
    assert versions[0] == 'Unreleased'
    assert __version__ in versions


@pytest.mark.parametrize('name', CALLERS)
def test_make_targets_exist(name):
    # Commands stand in code; prose may say "make sure".
    text = read(name)
    if name.endswith('.md'):
        text = '\n'.join(re.findall(r'```.*?```|`[^`\n]+`', text, re.S))
    assert set(MAKE.findall(text)) <= targets()


def test_make_targets_are_listed():
    (line,) = re.findall(r'^\.PHONY: (.+)$', read('Makefile'), re.M)
    assert set(line.split()) == targets()


def test_no_job_of_ci_may_fail():
    jobs = yaml.safe_load(read('.github/workflows/ci.yml'))['jobs']
    for job in jobs.values():
        assert all('continue-on-error' not in part for part in (job, *job['steps']))


def test_ci_runs_on_a_supported_python():
    text = read('.github/workflows/ci.yml')
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    versions = set(re.findall(r"'(3\.\d+)'", text))
    assert versions
    for version in versions:
        name = f'Programming Language :: Python :: {version}'
        assert name in parser['metadata']['classifiers']
    for constraints in re.findall(r'CONSTRAINTS=([\w./]+)', text):
        assert (ROOT / constraints).is_file()
