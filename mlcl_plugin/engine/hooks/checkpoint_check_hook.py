# SPDX-License-Identifier: Apache-2.0
"""Check that a checkpoint fits the model of a run."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ...models.utils.training_only import is_part, training_only_prefixes
from ..checkpoint_fit import fit_checkpoint
from ..unwrap import unwrap_model


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop a run whose checkpoint lacks weights of the model.

    MMEngine only logs weights that are missing or of another shape, and goes on with
    random ones. A file of bare weights, without ``'state_dict'``, is accepted as well;
    weights that the model does not have are ignored.

    Args:
        optional (Sequence[str]): Prefixes of the names of weights that may be missing.
            They stay as they are initialised. Defaults to none.
        training_parts (bool): Whether weights that the model declares as needed in
            training only may be missing too, see :func:`training_only_prefixes`.
            Defaults to False.

    Raises:
        ValueError: If other weights are missing, or any have another shape.
    """

    # before the EMA hook
    priority = 'VERY_HIGH'

    def __init__(self, optional: Sequence[str] = (), training_parts: bool = False):
        self.optional = tuple(optional)
        self.training_parts = training_parts

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check a checkpoint and add the optional weights that it lacks."""
        model = unwrap_model(runner.model)
        optional = self.optional
        if self.training_parts:
            parts = training_only_prefixes(model)
            optional += tuple(
                key
                for key in model.state_dict()
                if any(is_part(key, part) for part in parts)
            )
        fit_checkpoint(model, checkpoint, runner._load_from, optional)
