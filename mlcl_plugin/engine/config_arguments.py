# SPDX-License-Identifier: Apache-2.0
"""Check the arguments in a config by the signatures of what it builds."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    Registry,
    init_default_scope,
)
from mmengine.registry import EVALUATOR as EVALUATORS
from mmengine.runner import Runner, set_random_seed
from mmpretrain.visualization import UniversalVisualizer
from torch.utils.data import DataLoader

from .config_fields import did_you_mean

REGISTRIES: tuple[Registry, ...] = (
    MODELS,
    DATASETS,
    TRANSFORMS,
    DATA_SAMPLERS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    METRICS,
    EVALUATORS,
    HOOKS,
    LOOPS,
    VISUALIZERS,
    VISBACKENDS,
    LOG_PROCESSORS,
)
BUILDERS = {
    'type',
    '_scope_',
    # of hooks
    'priority',
    # of schedules
    'convert_to_iter_based',
    # of optimizers
    'constructor',
    'paramwise_cfg',
    # of loops
    'by_epoch',
}
"""Keys that the builders of MMEngine take out before they call a class."""
PLAIN: dict[str, frozenset[str]] = {
    'custom_imports': frozenset({'imports', 'allow_failed_imports'}),
    'randomness': frozenset(inspect.signature(set_random_seed).parameters),
    'env_cfg': frozenset({'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}),
    'auto_scale_lr': frozenset({'enable', 'base_batch_size'}),
    'model.train_cfg': frozenset({'augments', 'probs'}),
    'optim_wrapper.paramwise_cfg': frozenset(
        {
            'bias_decay_mult',
            'bias_lr_mult',
            'bypass_duplicate',
            'custom_keys',
            'dcn_offset_lr_mult',
            'dwconv_decay_mult',
            'flat_decay_mult',
            'norm_decay_mult',
        }
    ),
}
"""Keys of dicts without a type that are read one by one, so that others are ignored."""
HANDED_ON: dict[str, Callable] = {
    'CheckpointHook': Runner.save_checkpoint,
    'EMAHook': ExponentialMovingAverage,
    'VisualizationHook': UniversalVisualizer.visualize_cls,
}
"""What gets the other arguments of a class that takes any."""
UNTYPED = {
    'optim_wrapper': 'OptimWrapper',
    'val_cfg': 'ValLoop',
    'test_cfg': 'TestLoop',
}
"""What MMEngine builds from a field without a type."""
DATALOADER = frozenset(inspect.signature(DataLoader).parameters) | {
    'dataset',
    'num_batch_per_epoch',
}


def check_arguments(cfg: Config) -> None:
    """Refuse arguments that nothing in a plain config takes.

    Every dict with a ``type`` is compared with the signature of its class, if the class
    can be found and names its arguments. Dicts of MMEngine that are read one by one are
    compared with the keys that are read.

    Args:
        cfg (Config): A config without steps.

    Raises:
        ValueError: If there is an argument too many. The message names it, its place
            and similar names.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    for place, known in PLAIN.items():
        *path, last = place.split('.')
        holder: Any = cfg
        for name in path:
            holder = (holder or {}).get(name)
        # Constructors of others have keys of their own.
        constructor = (holder or {}).get('constructor')
        ours = constructor in (None, DefaultOptimWrapperConstructor.__name__)
        content = (holder or {}).get(last)
        if ours and isinstance(content, dict):
            _refuse(place, content, known)
    for part in ('train', 'val', 'test'):
        name = f'{part}_dataloader'
        loader = cfg.get(name)
        if isinstance(loader, dict):
            _refuse(name, loader, DATALOADER)
    for place, spec in _typed(_with_types(cfg), ''):
        kind = spec['type']
        names = _arguments(kind, cfg.get('default_scope'))
        handed_on = HANDED_ON.get(_name(kind))
        # Another type of average has other arguments.
        if names is None and handed_on is not None and 'ema_type' not in spec:
            names = frozenset().union(*map(_own, [*_classes(kind), handed_on]))
        if names is not None:
            _refuse(f'{place} ({_name(kind)})', spec, names | BUILDERS)


def _with_types(cfg: Config) -> dict:
    """The fields of a config, with the types that MMEngine would add."""
    fields = dict(cfg._cfg_dict)
    for name, kind in UNTYPED.items():
        if isinstance(fields.get(name), dict):
            fields[name] = dict(dict(type=kind), **fields[name])
    loop = fields.get('train_cfg')
    if isinstance(loop, dict):
        by_epoch = loop.get('by_epoch', True)
        kind = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
        fields['train_cfg'] = dict(dict(type=kind), **loop)
    return fields


def _refuse(place: str, content: Mapping, known: frozenset[str] | set[str]) -> None:
    wrong = sorted(set(map(str, content)) - known)
    if wrong:
        names = known - BUILDERS
        raise ValueError(
            f'{place} takes no {wrong[0]!r}.{did_you_mean(wrong[0], names)}'
        )


def _typed(content: Any, place: str) -> Iterator[tuple[str, dict]]:
    """Iterate over the dicts with a type that MMEngine builds, with their places."""
    if isinstance(content, dict):
        if 'type' in content:
            yield place, content
        for key, value in content.items():
            # Layers take settings beside their arguments.
            if place and str(key).endswith('_cfg'):
                continue
            yield from _typed(value, f'{place}.{key}' if place else str(key))
    elif isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from _typed(value, f'{place}[{index}]')


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


@cache
def _arguments(kind: Any, scope: str | None) -> frozenset[str] | None:
    """The arguments of a type in a config, None if they cannot be known.

    Two registries may have the name. Which one is asked depends on the place, so that
    the arguments of both are taken.
    """
    found: set[str] = set()
    for built in _classes(kind):
        names = _parameters(built)
        if names is None:
            return None
        found |= names
    return frozenset(found) or None


def _classes(kind: Any) -> list[Any]:
    """All that a type in a config may mean."""
    if not isinstance(kind, str):
        return [kind]
    found = [_registered(registry, kind) for registry in REGISTRIES]
    return [built for built in found if built is not None]


def _registered(registry: Registry, kind: str) -> Any:
    """What a registry of the default scope, or one of its parents, has by a name."""
    # Not Registry.get, which also tries to import a module of the name, and takes a
    # thousand times as long where there is none.
    scope, name = Registry.split_scope_key(kind)
    with registry.switch_scope_and_registry(scope) as found:
        current: Registry | None = found
        while current is not None:
            current.import_from_location()
            if name in current.module_dict:
                return current.module_dict[name]
            current = current.parent
    return None


def _own(function: Callable) -> set[str]:
    """The names that a function or class takes itself."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}


@cache
def _parameters(kind: Any) -> set[str] | None:
    """The arguments of a class and, where it hands them on, of its base classes.

    None if they cannot be known, as those of a function that builds something.
    """
    if not inspect.isclass(kind):
        return None
    names: set[str] = set()
    for base in kind.__mro__:
        init = base.__dict__.get('__init__')
        if init is None or base is object:
            continue
        if not inspect.isfunction(init):
            return None
        parameters = list(inspect.signature(init).parameters.values())[1:]
        names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        rest = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
        if not rest:
            return names
        if not _only_hands_on(init, rest[0]):
            return None
    return names


def _only_hands_on(init: Callable, name: str) -> bool:
    """Whether a constructor uses ``**name`` only to call that of its base class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, SyntaxError):
        return False
    handed = 0
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == '__init__'
            and isinstance(node.func.value, ast.Call)
            and isinstance(node.func.value.func, ast.Name)
            and node.func.value.func.id == 'super'
        ):
            handed += sum(
                keyword.arg is None
                and isinstance(keyword.value, ast.Name)
                and keyword.value.id == name
                for keyword in node.keywords
            )
    uses = sum(
        isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree)
    )
    return handed == uses == 1
