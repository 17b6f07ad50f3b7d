# SPDX-License-Identifier: Apache-2.0
"""Check that a checkpoint fits the model of a run."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..checkpoint_fit import fit_checkpoint


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop a run whose checkpoint lacks weights of the model.

    MMEngine only logs weights that are missing or of another shape, and goes on with
    random ones. A file of bare weights, without ``'state_dict'``, is accepted as well;
    weights that the model does not have are ignored.

    Args:
        optional (Sequence[str]): Prefixes of the names of weights that may be missing.
            They stay as they are initialised. Defaults to none.

    Raises:
        ValueError: If other weights are missing, or any have another shape.
    """

    # before the EMA hook
    priority = 'VERY_HIGH'

    def __init__(self, optional: Sequence[str] = ()):
        self.optional = tuple(optional)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check a checkpoint and add the optional weights that it lacks."""
        fit_checkpoint(runner.model, checkpoint, runner._load_from, self.optional)
