# SPDX-License-Identifier: Apache-2.0
"""Examine an installation, part by part; a broken part ends it with the cause."""

import importlib.util
import platform
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import NamedTuple

from .._stack import (
    FAMILIES,
    check_stack,
    has_module,
    import_stack,
    installed_distributions,
)
from ..errors import CheckpointError, MissingCheckpointError
from ..recipes import recipe_paths, recipe_root
from ..version import __version__
from ..weights import find_weights, shipped_weights

#: Modules of an extra of this package, by the module's name, and what needs them.
EXTRAS = {
    'iterstrat': ('tools', 'dividing data into parts'),
    'matplotlib': ('tools', 'pictures and curves'),
    'pandas': ('tools', 'tables'),
    'pyarrow': ('tools', 'tables in Parquet'),
    'scipy': ('tools', 'pairs of labels'),
    'sklearn': ('tools', 'measures of embeddings, scenes of digits'),
    'timm': ('efficientnet', 'backbones of timm'),
    'tensorboard': ('demo', 'curves in TensorBoard'),
    'onnx': ('export', 'files for ONNX Runtime'),
    'onnxruntime': ('export', 'fast features and answers on a CPU'),
    'onnxscript': ('export', 'files for ONNX Runtime'),
    'safetensors': ('export', 'weights in safetensors files'),
    'optuna': ('tune', 'searches for settings'),
}


class Fact(NamedTuple):
    """What was found out about a part.

    Attributes:
        part (str): The part.
        text (str): What it is, or what is wrong with it and how to mend it.
        error (Exception, optional): Why it cannot be used. Defaults to none.
    """

    part: str
    text: str
    error: Exception | None = None


def examine() -> Iterator[Fact]:
    """Examine Python, packages, machine, a pass through a tiny model, and weights.

    Yields:
        Fact: What was found. It ends after the first broken part: the parts after it
        need it.
    """
    yield Fact('Python', f'{platform.python_version()} ({sys.executable})')
    yield Fact('system', platform.platform())
    parts: tuple[Callable[[], Iterator[Fact]], ...] = (
        _packages,
        _imports,
        _recipes,
        _machine,
        _model,
        _extras,
        _weights,
    )
    for part in parts:
        try:
            yield from part()
        # A broken package may raise anything.
        except Exception as error:
            yield Fact(part.__name__.strip('_'), _explain(error), error)
            return


def _explain(error: Exception) -> str:
    """The message of an error; for one that is not ours also its type and place."""
    text = ' '.join(str(error).split())
    if isinstance(error, ImportError) and text.startswith('mlcl_plugin '):
        return text
    if isinstance(error, (CheckpointError, MissingCheckpointError)):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f'{type(error).__name__}: {text} (raised in {frame.filename}:{frame.lineno}). '
        '`mlcl doctor --debug` shows the traceback.'
    )


def _packages() -> Iterator[Fact]:
    found = installed_distributions()
    yield Fact('mlcl_plugin', __version__)
    for name in ('torch', 'torchvision'):
        yield Fact(name, found.get(name) or 'not installed')
    for family, members in FAMILIES.items():
        listed = [f'{name} {found[name]}' for name in members if name in found]
        yield Fact(f'family {family}', ', '.join(listed) or 'not installed')
    check_stack(found, has_module)


def _imports() -> Iterator[Fact]:
    # What the packages print here is no part of the report.
    with redirect_stdout(sys.stderr):
        import_stack()
        import mlcl_plugin

        mlcl_plugin.register()
    yield Fact('imports', 'all packages can be imported, all modules are registered')


def _recipes() -> Iterator[Fact]:
    yield Fact('recipes', f'{len(recipe_paths())} in {recipe_root() / "configs"}')


def _machine() -> Iterator[Fact]:
    from .machine import describe_machine

    for part, text in describe_machine():
        yield Fact(part, text)


def _model() -> Iterator[Fact]:
    from .tiny_pass import devices, tiny_pass

    for device in devices():
        seconds = tiny_pass(device)
        yield Fact(
            f'model on {device}',
            f'loss and gradients of a tiny label-wise model in {seconds:.2f} s',
        )


def _extras() -> Iterator[Fact]:
    for module, (extra, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            continue
        command = f'pip install "mlcl_plugin[{extra}]"'
        yield Fact(f'no {module}', f'needed for {purpose}: {command}')


def _weights() -> Iterator[Fact]:
    names = shipped_weights()
    for name in names:
        find_weights(name)
    yield Fact('weights', f'{", ".join(names) or "none"} come with the package, intact')
