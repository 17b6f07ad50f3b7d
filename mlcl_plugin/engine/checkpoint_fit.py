# SPDX-License-Identifier: Apache-2.0
"""Check that a checkpoint fits a model before its weights are used."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from ..errors import CheckpointError
from .unwrap import unwrap_model

MOMENTS = {
    'exp_avg',
    'exp_avg_sq',
    'max_exp_avg_sq',
    'momentum_buffer',
    'square_avg',
    'grad_avg',
}
"""Names in the states of torch's optimizers whose values have a weight's shape."""
PREFIX = 'module.'
"""What model wrappers, also that of an average, put in front of names."""


def weights_of(checkpoint: dict, path: str) -> dict:
    """Take the weights of a checkpoint.

    A checkpoint of bare weights gets a ``'state_dict'``. Weights saved from a model
    wrapper lose the ``module.`` in front of their names.

    Args:
        checkpoint (dict): The content of the file, changed in place.
        path (str): The file, for the error.

    Returns:
        dict: What the checkpoint has at ``'state_dict'``.

    Raises:
        CheckpointError: If there is no dict of weights by name.
    """
    # MMEngine's EMA hook expects a 'state_dict'.
    state = checkpoint.setdefault('state_dict', dict(checkpoint))
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path} cannot be used as a checkpoint: its 'state_dict' is a "
            f'{type(state).__name__}, expected a dict of weights by name.'
        )
    meta = checkpoint.get('meta')
    if meta is not None and not isinstance(meta, dict):
        raise CheckpointError(
            f"{path} cannot be used as a checkpoint: its 'meta' is a "
            f'{type(meta).__name__}, expected a dict.'
        )
    wrong = [key for key in state if not isinstance(key, str)]
    if wrong:
        raise CheckpointError(
            f'{path} cannot be used as a checkpoint: expected names of weights, got '
            f'{wrong[0]!r:.100}.'
        )
    for key in [key for key in state if key.startswith(PREFIX)]:
        state[key.removeprefix(PREFIX)] = state.pop(key)
    return state


def check_values(model: nn.Module, state: Mapping, path: str) -> None:
    """Check that weights of a checkpoint are numbers that a model can use.

    Args:
        model (nn.Module): The model, before it takes any of the weights.
        state (Mapping): Weights by name, without the prefix of a wrapper. Names that
            the model does not have are ignored.
        path (str): The file, for the error.

    Raises:
        CheckpointError: If a weight is no tensor, has integers where the model has
            real numbers or the other way round, or is not finite where the model's own
            value is.
    """
    for name, own in unwrap_model(model).state_dict().items():
        if name not in state or not isinstance(own, Tensor):
            continue
        value = state[name]
        problem = _problem(value, own)
        if problem is not None:
            raise CheckpointError(
                f"{path} cannot be used as a checkpoint: its weight '{name}' {problem}."
            )


def _problem(value: object, own: Tensor) -> str | None:
    """What is wrong with a weight, apart from its shape."""
    if not isinstance(value, Tensor):
        kind = type(value)
        module = '' if kind.__module__ == 'builtins' else f'{kind.__module__}.'
        return f'is a {module}{kind.__name__}, expected a tensor'
    if value.layout is not torch.strided:
        return f'is {value.layout}, expected a dense tensor'
    if value.is_complex() or value.is_floating_point() != own.is_floating_point():
        return f'has numbers of the type {value.dtype}, expected {own.dtype}'
    bad = int((~value.isfinite()).sum()) if value.is_floating_point() else 0
    # Some models have masks of -inf.
    if bad and own.isfinite().all():
        return (
            f'has {bad} of {value.numel()} values that are nan or infinite. The '
            'training that saved it has diverged: use an earlier checkpoint'
        )
    return None


def check_some_fit(model: nn.Module, checkpoint: dict, path: str) -> None:
    """Check that a model can take at least one weight of a checkpoint.

    Args:
        model (nn.Module): The model, before it takes any of the weights.
        checkpoint (dict): The content of the file, completed in place as by
            :func:`fit_checkpoint`.
        path (str): The file, for the error.

    Raises:
        CheckpointError: If a weight cannot be used, see :func:`check_values`, or there
            is none that the model has.
    """
    model = unwrap_model(model)
    state = weights_of(checkpoint, path)
    check_values(model, state, path)
    own = model.state_dict()
    if any(_same_shape(state.get(name), value) for name, value in own.items()):
        return
    # Backbones may rename or resize weights.
    if len(_find_unfit(model, own, state)) == sum(not _is_counter(k) for k in own):
        raise CheckpointError(
            f'{path} has none of the {len(own)} weights of the model, which are '
            f'{_enumerate(own)}. It has {_enumerate(state)}.'
        )


def check_optimizer(wrapper: OptimWrapper | OptimWrapperDict) -> None:
    """Check that moments of an optimizer have the shapes of their weights.

    torch loads others, and fails in the first step.

    Args:
        wrapper (OptimWrapper | OptimWrapperDict): With a state that was loaded.

    Raises:
        ValueError: If a moment has another shape.
    """
    several = isinstance(wrapper, OptimWrapperDict)
    for single in wrapper.values() if several else [wrapper]:
        for weight, state in single.optimizer.state.items():
            for name in MOMENTS & set(state):
                value = state[name]
                if value is not None and not _same_shape(value, weight):
                    shape = tuple(value.shape) if isinstance(value, Tensor) else value
                    raise ValueError(
                        f'{name} of the optimizer has the shape {shape!r:.100}, '
                        f'expected {tuple(weight.shape)}'
                    )


def _same_shape(value: object, own: object) -> bool:
    return (
        isinstance(value, Tensor)
        and isinstance(own, Tensor)
        and value.shape == own.shape
    )


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
        CheckpointError: If other weights are missing, any have another shape, or a
            weight cannot be used, see :func:`check_values`.
    """
    model = unwrap_model(model)
    state = weights_of(checkpoint, path)
    check_values(model, state, path)

    own = model.state_dict()
    unfit = _find_unfit(model, own, state)
    missing = [key for key in unfit if key not in state]
    fresh = [key for key in missing if key.startswith(tuple(optional))]
    unfit = [key for key in unfit if key not in fresh]
    if unfit:
        raise CheckpointError(
            f'{path} does not fit the model: {len(unfit)} of its {len(own)} weights '
            'are missing in the file or have another shape, e.g. '
            f'{", ".join(unfit[:5])}. Use a checkpoint of the same backbone, neck, '
            'head and number of classes. In a config with steps, name the parts that a '
            'step adds in its fresh_parts. A training may start from other labels with '
            'LabelsByNameHook.'
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
            key for key, value in own.items() if not _same_shape(state.get(key), value)
        ]
        if not keys:
            raise
    return [key for key in keys if not _is_counter(key)]


def _is_counter(key: str) -> bool:
    return 'num_batches_tracked' in key


def _enumerate(state: Mapping) -> str:
    names = list(map(repr, state))
    return ', '.join(names[:3]) + (' and so on' if len(names) > 3 else '') or 'none'
