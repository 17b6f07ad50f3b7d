# SPDX-License-Identifier: Apache-2.0
"""What runners with a training of their own leave to a plain runner."""

from functools import cached_property
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..steps import base_config
from .checked_runner import CheckedRunner


class WithPlainRunner:
    """Base of runners that train in their own way, and do the rest as a plain runner.

    The rest is all that MMEngine's ``Runner`` has, such as ``test`` and ``val``. A
    subclass sets ``cfg`` and writes ``train``.
    """

    cfg: Config

    @cached_property
    def runner(self) -> Runner:
        """Runner: A plain runner on the config without its steps."""
        return CheckedRunner.from_cfg(base_config(self.cfg))

    def __getattr__(self, name: str) -> Any:
        """Take what this class does not have from the plain runner."""
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.runner, name)
