# SPDX-License-Identifier: Apache-2.0
"""Check that a checkpoint fits a model before its weights are used."""

from collections.abc import Sequence

from mmengine.logging import print_log
from torch import Tensor, nn

from .unwrap import unwrap_model


def fit_checkpoint(
    model: nn.Module, checkpoint: dict, path: str, optional: Sequence[str] = ()
) -> None:
    """Check that a checkpoint has the weights of a model, and complete it.

    A checkpoint of bare weights gets a ``'state_dict'``. Weights saved from a model
    wrapper lose the ``module.`` in front of their names. Optional weights that are
    missing are filled in from the model. Weights that the model does not have are left
    alone.

    Args:
        model (nn.Module): The model, which may be inside wrappers. It may already take
            those weights that fit.
        checkpoint (dict): The content of the file, changed in place.
        path (str): The file, for the error.
        optional (Sequence[str]): Prefixes of the names of weights that may be missing.
            Defaults to none.

    Raises:
        ValueError: If other weights are missing, or any have another shape.
    """
    model = unwrap_model(model)
    # MMEngine's EMA hook expects a 'state_dict'.
    state = checkpoint.setdefault('state_dict', dict(checkpoint))
    for key in [key for key in state if key.startswith('module.')]:
        state[key.removeprefix('module.')] = state.pop(key)

    own = model.state_dict()
    unfit = _find_unfit(model, own, state)
    missing = [key for key in unfit if key not in state]
    fresh = [key for key in missing if key.startswith(tuple(optional))]
    unfit = [key for key in unfit if key not in fresh]
    if unfit:
        raise ValueError(
            f'{path} does not fit the model: {len(unfit)} of its {len(own)} weights '
            'are missing in the file or have another shape, e.g. '
            f'{", ".join(unfit[:5])}. Use a checkpoint of the same backbone, neck, '
            'head and number of classes. In a config with steps, name the parts that a '
            'step adds in its fresh_parts.'
        )
    for key in fresh:
        state[key] = own[key].clone()
    for part in sorted({'.'.join(key.split('.')[:2]) for key in fresh}):
        print_log(f'{part} starts fresh: it is not in the checkpoint.', 'current')


def _find_unfit(model: nn.Module, own: dict, state: dict) -> list[str]:
    """Names of the weights of a model that ``state`` lacks or has in another shape."""
    try:
        # Let the model itself load them: backbones may rename or resize weights.
        keys = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError:
        keys = [
            key
            for key, value in own.items()
            if not isinstance(state.get(key), Tensor) or state[key].shape != value.shape
        ]
        if not keys:
            raise
    return [key for key in keys if 'num_batches_tracked' not in key]
