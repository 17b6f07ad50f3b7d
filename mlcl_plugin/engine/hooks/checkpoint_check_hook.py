# SPDX-License-Identifier: Apache-2.0
"""Check a checkpoint against the model before its weights are used."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmpretrain.registry import HOOKS
from torch import nn

from ...models.utils.training_only import is_part, training_only_prefixes


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop a run whose checkpoint lacks weights of the model.

    MMEngine only logs weights that are missing or of another shape, and goes on with
    random ones. A file of bare weights, without ``'state_dict'``, is taken as well,
    and what it holds beyond the model is left out.

    Weights that may be missing stay as they are initialised.

    Args:
        optional (Sequence[str]): Beginnings of names of weights that may be missing.
            Defaults to none.
        training_parts (bool): Weights that the model itself declares as needed in
            training only may be missing, see :func:`training_only_prefixes`.
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
        """Check a checkpoint and complete it with what may be missing."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        # The EMA hook knows no bare weights.
        state = checkpoint.setdefault('state_dict', dict(checkpoint))
        for key in [key for key in state if key.startswith('module.')]:
            state[key.removeprefix('module.')] = state.pop(key)

        own = model.state_dict()
        unfit = _find_unfit(model, own, state)
        missing = [key for key in unfit if key not in state]
        fresh = [key for key in missing if key.startswith(self.optional)]
        if self.training_parts:
            parts = training_only_prefixes(model)
            fresh += [k for k in missing if any(is_part(k, part) for part in parts)]
        unfit = [key for key in unfit if key not in fresh]
        if unfit:
            raise ValueError(
                f'{runner._load_from} does not fit the model: {len(unfit)} of its '
                f'{len(own)} weights are missing in the file or have another shape, '
                f'e.g. {", ".join(unfit[:5])}. Take a checkpoint of the same backbone, '
                'neck, head and number of classes; in a config in steps, name what a '
                'step adds in its fresh_parts.'
            )
        for key in fresh:
            state[key] = own[key].clone()
        for part in sorted({'.'.join(key.split('.')[:2]) for key in fresh}):
            print_log(f'{part} starts fresh: it is not in the checkpoint.', 'current')


def _find_unfit(model: nn.Module, own: dict, state: dict) -> list[str]:
    """Names of the weights that the model does not find in ``state``."""
    try:
        # As the model itself loads: backbones may rename or resize weights.
        keys = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError:
        keys = [
            key
            for key, value in own.items()
            if getattr(state.get(key), 'shape', None) != value.shape
        ]
        if not keys:
            raise
    return [key for key in keys if 'num_batches_tracked' not in key]
