# SPDX-License-Identifier: Apache-2.0
"""Check the packages that the plugin needs before anything imports them.

Two families of distributions provide the modules ``mmpretrain``, ``mmengine`` and
``mmcv``: OpenMMLab's own and the maintained ``onedl-*`` forks. pip does not know that
they overwrite each other's files. If a module cannot be imported, MMEngine only reports
"X is not in the registry". This module raises errors that say how to fix both.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

#: Module that each distribution provides, by family. A family has the name of the extra
#: of this package that installs it.
FAMILIES: dict[str, dict[str, str]] = {
    'onedl': {
        'onedl-mmpretrain': 'mmpretrain',
        'onedl-mmengine': 'mmengine',
        'onedl-mmcv': 'mmcv',
    },
    'openmmlab': {
        'mmpretrain': 'mmpretrain',
        'mmengine': 'mmengine',
        'mmengine-lite': 'mmengine',
        'mmcv': 'mmcv',
        'mmcv-lite': 'mmcv',
    },
}

#: Versions that the plugin works with, by module; ``setup.cfg`` requires the same.
SUPPORTED: dict[str, str] = {
    'torch': '>=2.1',
    'torchvision': '>=0.16',
    'mmpretrain': '>=1.2.0,<2.0.0',
    'mmengine': '>=0.10.0,<1.0.0',
    'mmcv': '>=2.0.0,<2.4.0',
}

#: From this version on, ``torch.load`` refuses the checkpoints of OpenMMLab's MMEngine,
#: unless it is allowed to run code from the file.
SAFE_LOAD_TORCH = '2.6'

#: Modules whose import shows that the stack is complete: the packages and the parts
#: that MMPretrain's registries import later by themselves.
IMPORTED = (
    'torch',
    'mmengine',
    'mmcv',
    'mmpretrain',
    'mmpretrain.datasets',
    'mmpretrain.engine',
    'mmpretrain.evaluation',
    'mmpretrain.models',
)

#: What MMPretrain prints on stdout for each optional part that is not installed, and
#: what MMCV warns of. Neither part is used here.
NOTES = ('Could not import OneDL',)
UNUSED_PART = 'Fail to import ``MultiScaleDeformableAttention``'

#: Fixes for known causes of a failing import, by a part of the error's message.
HINTS: dict[str, str] = {
    'libGL.so.1': 'OpenCV misses a graphics library: install it (libgl1 on Debian '
    'and Ubuntu), or run `pip uninstall -y opencv-python` and then '
    '`pip install --force-reinstall --no-deps opencv-python-headless`.',
    'pkg_resources': "OpenMMLab's own packages need it: run "
    '`pip install "setuptools<82"`, or use the onedl forks.',
}


def installed_distributions() -> dict[str, str]:
    """Find which distributions of the stack are installed.

    Returns:
        dict[str, str]: The version by the name of the distribution, including this
        package. A version that cannot be read is an empty string.
    """
    names = ['mlcl_plugin', 'torch', 'torchvision']
    names += [name for family in FAMILIES.values() for name in family]
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name) or ''
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def has_module(name: str) -> bool:
    """Tell whether a top-level module has files to import, without importing it.

    Args:
        name (str): The name of the module.

    Returns:
        bool: False also for a folder without ``__init__.py``, which may remain after
        one of two overlapping distributions was uninstalled.
    """
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def check_stack(
    distributions: Mapping[str, str], module_exists: Callable[[str], bool]
) -> None:
    """Check what is installed, without importing it.

    A module without a distribution, such as a source checkout on ``PYTHONPATH``, is
    accepted without a check of its version.

    Args:
        distributions (Mapping[str, str]): The version by the name of each installed
            distribution, as :func:`installed_distributions` gives it.
        module_exists (Callable[[str], bool]): Tells whether a module can be found.

    Raises:
        ImportError: If both families are installed, a module is missing, or a version
            is outside the supported range.
    """
    families = {
        family: [name for name in members if name in distributions]
        for family, members in FAMILIES.items()
    }
    if all(families.values()):
        _raise_clash(families, distributions)

    family = 'openmmlab' if families['openmmlab'] else 'onedl'
    provided = {name: name for name in ('torch', 'torchvision')} | FAMILIES[family]
    providers = {
        module: [
            name
            for name in provided
            if provided[name] == module and name in distributions
        ]
        for module in SUPPORTED
    }
    _check_modules(providers, module_exists, _install_command(family, distributions))
    for module, names in providers.items():
        for name in names:
            _check_version(name, distributions[name], SUPPORTED[module])

    if family == 'openmmlab' and 'torch' in distributions:
        _warn_unsafe_load(distributions['torch'])


def import_stack(modules: Iterable[str] = IMPORTED) -> None:
    """Import the stack, so that a failure is reported with its cause.

    Args:
        modules (Iterable[str]): The names of the modules. Defaults to
            :data:`IMPORTED`.

    Raises:
        ImportError: If one of them raises an error of any kind.
    """
    # In front of the filters of the user: the part is not used here.
    warnings.filterwarnings('ignore', message=UNUSED_PART)
    for module in modules:
        try:
            with _without_notes():
                importlib.import_module(module)
        # MMPretrain raises AssertionError for an unsupported version, and a broken
        # dependency may raise anything.
        except Exception as error:
            cause = f'{type(error).__name__}: {error}'
            hints = [hint for part, hint in HINTS.items() if part in cause]
            raise ImportError(
                ' '.join(
                    [
                        f'mlcl_plugin cannot import `{module}`, which is installed '
                        f'but fails with {cause.rstrip(".")}.',
                        *hints,
                        f'`python -c "import {module}"` shows the full cause.',
                    ]
                )
            ) from error


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Print what an import prints, but for :data:`NOTES`."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        for line in said.getvalue().splitlines(keepends=True):
            if line.strip() not in NOTES:
                print(line, end='')


def ensure_stack() -> None:
    """Check the installed stack and import it.

    Raises:
        ImportError: If the stack cannot be used. The message says how to fix it.
    """
    check_stack(installed_distributions(), has_module)
    import_stack()


def _install_command(family: str, distributions: Mapping[str, str]) -> str:
    """Command that installs a family as an extra of this package."""
    # pip does not know the name of a checkout that is only on PYTHONPATH.
    if 'mlcl_plugin' in distributions:
        return f'`pip install "mlcl_plugin[{family}]"`'
    return f'`pip install -e ".[{family}]"` in the checkout of mlcl_plugin'


def _raise_clash(
    families: Mapping[str, list[str]], distributions: Mapping[str, str]
) -> None:
    listed = '; '.join(
        ', '.join(f'{name} {distributions[name]}' for name in names)
        for names in families.values()
    )
    everything = ' '.join(name for names in families.values() for name in names)
    raise ImportError(
        'mlcl_plugin found two families of distributions that overwrite each '
        f"other's files: {listed}. Keep one of them. Uninstall both, because removing "
        'one also removes files of the other, and install one again: '
        f'`pip uninstall -y {everything}`, then '
        f'{_install_command("onedl", distributions)} (the maintained forks).'
    )


def _check_modules(
    providers: Mapping[str, list[str]],
    module_exists: Callable[[str], bool],
    command: str,
) -> None:
    missing = [module for module in providers if not module_exists(module)]
    if not missing:
        return
    # pip lists a distribution as installed, even if uninstalling another one removed
    # its files.
    hollow = [name for module in missing for name in providers[module]]
    if hollow:
        raise ImportError(
            f'mlcl_plugin cannot find the files of {", ".join(hollow)}, although pip '
            'lists them as installed. Uninstalling another distribution may have '
            'removed shared files. Install them again: '
            f'`pip install --force-reinstall --no-deps {" ".join(hollow)}`.'
        )
    raise ImportError(
        f'mlcl_plugin needs {", ".join(missing)}, which cannot be found in this Python '
        f'environment. Install what is missing: {command}.'
    )


def _check_version(name: str, version: str, supported: str) -> None:
    # Not at the top of the file: packaging comes with the stack, and a missing stack
    # must be reported first.
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        fits = SpecifierSet(supported).contains(Version(version), prereleases=True)
    except InvalidVersion:
        fits = False
    if not fits:
        raise ImportError(
            f'mlcl_plugin needs {name}{supported}, but got '
            f'{version or "a version that cannot be read"}. Install one in this '
            f'range: `pip install "{name}{supported}"`.'
        )


def _warn_unsafe_load(torch_version: str) -> None:
    from packaging.version import Version

    if Version(torch_version) >= Version(SAFE_LOAD_TORCH):
        warnings.warn(
            f"OpenMMLab's own mmengine trains with torch {torch_version}, but cannot "
            f'load or resume its checkpoints with torch>={SAFE_LOAD_TORCH} '
            '(UnpicklingError). Install "torch<2.6" with a torchvision to match, or '
            'replace mmpretrain, mmengine and mmcv by the onedl forks.',
            UserWarning,
            stacklevel=2,
        )
