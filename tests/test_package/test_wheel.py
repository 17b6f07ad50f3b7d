# SPDX-License-Identifier: Apache-2.0
import importlib.metadata
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MIM = 'mlcl_plugin/.mim/'
# The files of a checkout that a build may read.
TREE = [
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    'configs',
    'constraints.txt',
    'mlcl_plugin',
    'model-index.yml',
    'pyproject.toml',
    'setup.cfg',
    'setup.py',
    'tools',
]


@pytest.fixture(scope='module')
def setup_py():
    return runpy.run_path(str(ROOT / 'setup.py'), run_name='setup_of_mlcl_plugin')


@pytest.fixture
def checkout(tmp_path):
    """A copy of the tree, so that a build leaves the real one as it is."""
    target = tmp_path / 'checkout'
    target.mkdir()
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, target / name)
    return target


def build(kind, source):
    """Build with the installed setuptools and return the file."""
    target = source.parent / f'{kind}-{source.name}'
    target.mkdir(exist_ok=True)
    call = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            'import sys; from setuptools import build_meta;'
            f'build_meta.build_{kind}(sys.argv[1])',
            str(target),
        ],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert call.returncode == 0, call.stderr[-2000:]
    (file,) = target.iterdir()
    return file


def names_in(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    return {name for name in names if '.dist-info/' not in name}


def files_below(tree, *tops):
    """Walk a tree without setup.py's functions and without following its links."""
    return {
        (Path(folder) / file).relative_to(tree).as_posix()
        for top in tops
        for folder, _, files in os.walk(tree / top)
        for file in files
        if not {'__pycache__', '.mim'} & set(Path(folder).parts)
    }


def carried_names(tree):
    names = files_below(tree, 'configs', 'tools') | {'model-index.yml'}
    return {name for name in names if not Path(name).name.startswith('.')}


def expected_names(tree):
    carried = {MIM + name for name in carried_names(tree)}
    return files_below(tree, 'mlcl_plugin') | carried


def test_every_config_and_tool_is_carried(setup_py):
    carried = {file.as_posix() for file in setup_py['mim_files']()}
    assert carried == carried_names(ROOT)
    assert {'model-index.yml', 'tools/train.py'} <= carried


def test_rooms_are_packages():
    """A folder of code without ``__init__.py`` would be missing in a wheel."""
    package = ROOT / 'mlcl_plugin'
    folders = {path.parent for path in package.rglob('*.py')}
    folders = {f for f in folders if '.mim' not in f.relative_to(package).parts}
    assert [str(f) for f in folders if not (f / '__init__.py').is_file()] == []


def test_config_names_are_unique():
    """mim finds a config by its base name."""
    names = [
        file.name
        for file in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in file.relative_to(ROOT).parts
    ]
    assert sorted(names) == sorted(set(names))


def test_model_index_names_files_that_are_carried():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    carried = carried_names(ROOT)
    models = list(index.get('Models', []))
    for metafile in index.get('Import', []):
        assert metafile in carried
        models += yaml.safe_load((ROOT / metafile).read_text()).get('Models', [])
    assert models
    for model in models:
        assert model['Config'] in carried, model


def test_missing_source_is_named(setup_py, tmp_path):
    with pytest.raises(FileNotFoundError, match='configs is missing'):
        list(setup_py['mim_files'](tmp_path))


@pytest.mark.parametrize('links', [True, False])
def test_link_mim(setup_py, tmp_path, monkeypatch, links):
    (tmp_path / 'configs' / '_base_').mkdir(parents=True)
    (tmp_path / 'configs' / '_base_' / 'a.py').write_text('a = 1')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').write_text('')
    (tmp_path / 'model-index.yml').write_text('Import: []')
    target = tmp_path / 'mlcl_plugin' / '.mim'
    if not links:

        def refuse(*args, **kwargs):
            raise OSError('a required privilege is not held by the client')

        monkeypatch.setattr(Path, 'symlink_to', refuse)
    # A file of an older install.
    (target / 'configs').mkdir(parents=True)
    (target / 'configs' / 'stale.py').write_text('')

    for _ in range(2):
        setup_py['link_mim'](target, tmp_path)
        found = {p.relative_to(target).as_posix() for p in target.glob('*/**/*.py')}
        found |= {p.name for p in (target / 'configs').iterdir()}
        assert 'stale.py' not in found
        assert (target / 'configs' / '_base_' / 'a.py').read_text() == 'a = 1'
        assert (target / 'tools' / 'train.py').is_file()
        assert (target / 'model-index.yml').read_text() == 'Import: []'
        assert (target / 'configs').is_symlink() == links
    # Removing the links keeps their targets.
    setup_py['remove'](target)
    assert (tmp_path / 'configs' / '_base_' / 'a.py').is_file()


@pytest.mark.slow
def test_wheel(checkout):
    wheel = build('wheel', checkout)
    assert wheel.name.endswith('-py3-none-any.whl')
    names = names_in(wheel)
    assert names == expected_names(checkout)
    rooms = ('apis', 'data_check', 'inference', 'reports')
    assert {
        'mlcl_plugin/py.typed',
        *(f'mlcl_plugin/{r}/__init__.py' for r in rooms),
    } <= names
    assert not (checkout / MIM).exists()

    with zipfile.ZipFile(wheel) as archive:
        folder = wheel.name.replace('-py3-none-any.whl', '.dist-info')
        metadata = archive.read(f'{folder}/METADATA').decode()
        assert 'Apache License' in archive.read(
            next(n for n in archive.namelist() if n.endswith('/LICENSE'))
        ).decode('utf-8')
    assert re.search(r'^Name: mlcl[_-]plugin$', metadata, re.M)
    # Only an extra may require a family: see _stack.py.
    required = re.findall(r'^Requires-Dist: (\S.*)$', metadata, re.M)
    assert not [r for r in required if 'mm' in r and 'extra ==' not in r]


@pytest.mark.slow
def test_wheel_from_sdist(checkout):
    sdist = build('sdist', checkout)
    unpacked = checkout.parent / 'unpacked'
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter='data')
    (source,) = unpacked.iterdir()
    assert not (source / MIM).exists()
    assert names_in(build('wheel', source)) == expected_names(checkout)


@pytest.mark.slow
def test_second_build_has_no_files_of_the_first(checkout):
    extra = ['configs/gone.py', 'tools/gone.py', 'mlcl_plugin/gone.py']
    for name in extra:
        (checkout / name).write_text('')
    wheel = build('wheel', checkout)
    before = names_in(wheel)
    wheel.unlink()
    for name in extra:
        (checkout / name).unlink()
    after = names_in(build('wheel', checkout))
    assert before - after == {
        f'{MIM}configs/gone.py',
        f'{MIM}tools/gone.py',
        'mlcl_plugin/gone.py',
    }


@pytest.mark.slow
def test_editable_install_links_and_a_later_wheel_ignores_the_links(checkout):
    build('editable', checkout)
    for name in ('configs', 'tools', 'model-index.yml'):
        link = checkout / MIM / name
        assert link.resolve() == checkout / name
        assert not os.path.isabs(os.readlink(link))
    (checkout / MIM / 'stale.yml').write_text('')
    assert names_in(build('wheel', checkout)) == expected_names(checkout)


@pytest.mark.slow
def test_installed_wheel(checkout):
    wheel = build('wheel', checkout)
    target = checkout.parent / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    (found,) = importlib.metadata.distributions(path=[str(target)])
    # MMEngine and mim find the package through this.
    code = (
        'import json, sys; from mmengine.utils import get_installed_path;'
        "print(json.dumps(get_installed_path('mlcl_plugin')))"
    )
    call = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': str(target)},
        cwd=checkout.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    path = Path(json.loads(call.stdout.splitlines()[-1]))
    assert path == target / 'mlcl_plugin'
    assert (path / '.mim' / 'tools' / 'train.py').is_file()
    assert found.version in wheel.name
