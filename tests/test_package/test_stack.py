# SPDX-License-Identifier: Apache-2.0
import configparser
import importlib.metadata
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mlcl_plugin import _stack

ROOT = Path(__file__).resolve().parents[2]
FORKS = {
    'mlcl_plugin': '0.1.0',
    'torch': '2.14.1',
    'torchvision': '0.29.1',
    'onedl-mmpretrain': '1.3.6',
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
}
STOCK = {
    'mlcl_plugin': '0.1.0',
    'torch': '2.5.1+cpu',
    'torchvision': '0.20.1',
    'mmpretrain': '1.2.0',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.2.0',
}


def check(distributions, missing=()):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        _stack.check_stack(distributions, lambda module: module not in missing)


def failure(distributions, missing=()):
    with pytest.raises(ImportError) as caught:
        check(distributions, missing)
    return str(caught.value)


def without(distributions, *names):
    return {k: v for k, v in distributions.items() if k not in names}


@pytest.mark.parametrize(
    'distributions',
    [
        FORKS,
        STOCK,
        # The full mmcv instead of mmcv-lite; a source build of torch.
        {**without(STOCK, 'mmcv-lite'), 'mmcv': '2.1.0'},
        {**FORKS, 'torch': '2.6.0a0+df5bbc09d1.nv24.11'},
        # Checkouts on PYTHONPATH: modules without distributions.
        {},
    ],
)
def test_good_stacks_pass_in_silence(distributions):
    check(distributions)


@pytest.mark.parametrize('module', ['torch', 'torchvision', 'mmpretrain', 'mmcv'])
def test_missing_module(module):
    names = [name for name in FORKS if name.rpartition('-')[2] == module]
    message = failure(without(FORKS, *names), [module])
    assert f'needs {module}, which cannot be found' in message
    assert '`pip install "mlcl_plugin[onedl]"`' in message


def test_every_missing_module_is_named():
    modules = ['mmpretrain', 'mmengine', 'mmcv']
    message = failure(without(FORKS, *(f'onedl-{m}' for m in modules)), modules)
    assert 'needs mmpretrain, mmengine, mmcv, which' in message


def test_missing_module_of_the_stock_family():
    message = failure(without(STOCK, 'mmcv-lite'), ['mmcv'])
    assert 'mlcl_plugin[openmmlab]' in message
    assert 'onedl' not in message


def test_command_for_a_checkout_that_is_not_installed():
    message = failure({'torch': '2.14.1', 'torchvision': '0.29.1'}, ['mmcv'])
    assert '`pip install -e ".[onedl]"` in the checkout' in message


def test_both_families():
    message = failure({**FORKS, 'mmengine': '0.10.7', 'mmcv-lite': '2.2.0'})
    assert 'two families' in message
    assert 'onedl-mmcv 2.3.6' in message and 'mmcv-lite 2.2.0' in message
    # Uninstalling one family removes files of the other.
    assert (
        '`pip uninstall -y onedl-mmpretrain onedl-mmengine onedl-mmcv mmengine '
        'mmcv-lite`' in message
    )
    assert '`pip install "mlcl_plugin[onedl]"`' in message


def test_both_families_are_reported_before_missing_files():
    assert 'two families' in failure({**FORKS, 'mmcv': '2.2.0'}, ['mmcv'])


def test_distribution_without_its_files():
    message = failure(FORKS, ['mmengine', 'mmcv'])
    assert (
        '`pip install --force-reinstall --no-deps onedl-mmengine onedl-mmcv`' in message
    )


@pytest.mark.parametrize(
    ('base', 'name', 'version'),
    [
        (FORKS, 'torch', '2.0.1'),
        (FORKS, 'torchvision', '0.15.2'),
        (FORKS, 'onedl-mmpretrain', '2.0.0'),
        (FORKS, 'onedl-mmengine', '0.9.1'),
        (FORKS, 'onedl-mmcv', '2.4.0'),
        (STOCK, 'mmpretrain', '1.1.1'),
        (STOCK, 'mmcv-lite', '1.7.2'),
        (STOCK, 'mmengine', ''),
    ],
)
def test_version_out_of_range(base, name, version):
    message = failure({**base, name: version})
    assert f'needs {name}' in message
    assert f'got {version or "a version that cannot be read"}.' in message
    command = message.partition('`pip install "')[2].partition('"')[0]
    assert Requirement(command).name == name
    assert base[name] in Requirement(command).specifier


def test_stock_family_with_a_torch_that_refuses_its_checkpoints():
    with pytest.warns(UserWarning, match='cannot load or resume') as caught:
        _stack.check_stack({**STOCK, 'torch': '2.6.0+cu124'}, lambda module: True)
    assert len(caught) == 1


def test_installed_distributions(monkeypatch):
    def version(name):
        if name == 'onedl-mmcv':
            return None  # as importlib returns for a damaged distribution
        try:
            return FORKS[name]
        except KeyError:
            raise importlib.metadata.PackageNotFoundError(name) from None

    monkeypatch.setattr(importlib.metadata, 'version', version)
    assert _stack.installed_distributions() == {**FORKS, 'onedl-mmcv': ''}


def test_has_module(tmp_path, monkeypatch):
    (tmp_path / 'mlcl_leftover' / '__pycache__').mkdir(parents=True)
    (tmp_path / 'mlcl_whole').mkdir()
    (tmp_path / 'mlcl_whole' / '__init__.py').write_text('raise RuntimeError')
    monkeypatch.syspath_prepend(tmp_path)
    assert _stack.has_module('mlcl_whole')
    assert not _stack.has_module('mlcl_leftover')
    assert not _stack.has_module('mlcl_absent')


@pytest.mark.parametrize(
    ('code', 'expected'),
    [
        ('assert False, "MMCV==1.0 is used"', 'AssertionError: MMCV==1.0 is used.'),
        (
            'raise ImportError("libGL.so.1: cannot open shared object file")',
            'opencv-python-headless',
        ),
        ('import pkg_resources_absent', 'setuptools<82'),
    ],
)
def test_failing_import_keeps_its_cause(tmp_path, monkeypatch, code, expected):
    (tmp_path / 'mlcl_broken.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match='cannot import `mlcl_broken`') as caught:
        _stack.import_stack(['mlcl_broken'])
    assert expected in str(caught.value)
    assert type(caught.value.__cause__).__name__ in str(caught.value)


def import_plugin(*flags, path):
    """Import the plugin in a new Python and return its stderr."""
    call = subprocess.run(
        [sys.executable, *flags, '-c', 'import mlcl_plugin'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
    )
    assert call.returncode == 1
    return call.stderr


def test_import_without_any_stack():
    # -S leaves site-packages out.
    stderr = import_plugin('-S', path=[ROOT])
    assert stderr.splitlines()[-1].startswith('ImportError: mlcl_plugin needs torch')


def test_import_with_a_broken_mmpretrain(tmp_path):
    (tmp_path / 'mmpretrain').mkdir()
    (tmp_path / 'mmpretrain' / '__init__.py').write_text('import dependency_of_it')
    stderr = import_plugin(path=[tmp_path, ROOT])
    assert "ModuleNotFoundError: No module named 'dependency_of_it'" in stderr
    assert 'ImportError: mlcl_plugin cannot import `mmpretrain`' in stderr


def test_setup_cfg_asks_for_the_versions_that_are_checked():
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    extras = parser['options.extras_require']
    base, onedl, openmmlab = (
        {
            requirement.name: requirement.specifier
            for requirement in map(Requirement, block.strip().split('\n'))
        }
        for block in (
            parser['options']['install_requires'],
            extras['onedl'],
            extras['openmmlab'],
        )
    )
    required = openmmlab | onedl | base
    modules = {'torch': 'torch', 'torchvision': 'torchvision'}
    for family in _stack.FAMILIES:
        members = _stack.FAMILIES[family]
        asked = [name for name in members if name in required]
        assert {members[name] for name in asked} == {'mmpretrain', 'mmengine', 'mmcv'}
        modules.update({name: members[name] for name in asked})
    for name, module in modules.items():
        assert required[name] == SpecifierSet(_stack.SUPPORTED[module])
    # The import warns of later versions.
    assert openmmlab['torch'] == SpecifierSet(f'<{_stack.SAFE_LOAD_TORCH}')


def test_constraints_are_versions_that_are_checked():
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        if not line or line.startswith('#'):
            continue
        requirement = Requirement(line)
        module = _stack.FAMILIES['onedl'].get(requirement.name, requirement.name)
        version = str(requirement.specifier).removeprefix('==')
        assert version in SpecifierSet(_stack.SUPPORTED.get(module, ''))


def test_notes_of_imports_are_left_out(tmp_path, monkeypatch, capsys):
    (tmp_path / 'mlcl_noisy.py').write_text(
        "import warnings\nprint('Could not import OneDL')\nprint('of substance')\n"
        "warnings.warn('Fail to import ``MultiScaleDeformableAttention`` from x')\n"
        "warnings.warn('of substance, too')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match='of substance') as caught:
        _stack.import_stack(['mlcl_noisy'])
    assert [str(warning.message) for warning in caught] == ['of substance, too']
    assert capsys.readouterr().out == 'of substance\n'
