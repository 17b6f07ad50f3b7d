# SPDX-License-Identifier: Apache-2.0
"""Multi-label image classification by label-wise contrast, for MMPretrain.

Importing the package registers its modules with MMPretrain's registries, so that a
config only needs::

    custom_imports = dict(imports=['mlcl_plugin'], allow_failed_imports=False)

Only the package's own commands, such as ``mlcl train``, call :func:`register` later,
when they have read their arguments.

``mlcl_plugin.apis`` and ``mlcl_plugin.visualization`` register nothing. Import them
where you use them.
"""

import functools
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from ._program import is_command
from ._threads import let_threads_sleep
from .version import __version__

if TYPE_CHECKING:
    from . import datasets, engine, evaluation, models

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models', 'register']


@functools.cache
def register() -> None:
    """Register the modules of the package with MMPretrain. A second call does nothing.

    Raises:
        ImportError: If the packages that it needs cannot be used. The message says how
            to fix it.
    """
    from ._stack import ensure_stack

    # Before the subpackages, whose imports would fail without naming the cause.
    ensure_stack()
    from mmengine.config.utils import MODULE2PACKAGE

    from . import datasets, engine, evaluation, inference, models  # noqa: F401

    # The packages whose configs MMEngine finds as 'PACKAGE::PATH'.
    MODULE2PACKAGE.setdefault('mlcl_plugin', 'mlcl_plugin')
    # Without recipes, the rest of the package still works; who names one is told.
    with suppress(FileNotFoundError):
        engine.register_models()


if is_command(sys.argv, sys.orig_argv):
    let_threads_sleep()
else:
    register()
