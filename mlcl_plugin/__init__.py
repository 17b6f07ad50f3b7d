# SPDX-License-Identifier: Apache-2.0
"""Multi-label image classification by label-wise contrast, for MMPretrain.

Importing the package registers its modules with MMPretrain's registries, so that a
config only needs::

    custom_imports = dict(imports=['mlcl_plugin'], allow_failed_imports=False)

``mlcl_plugin.apis`` and ``mlcl_plugin.visualization`` register nothing. Import them
where you use them.
"""

from ._stack import ensure_stack
from .version import __version__

# Before the subpackages, whose imports would fail without naming the cause.
ensure_stack()

from . import datasets, engine, evaluation, models  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models']
