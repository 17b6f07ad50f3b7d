# SPDX-License-Identifier: Apache-2.0
"""Which data sets a config names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from ..engine.steps import step_config, step_names

KINDS = ('train', 'val', 'test')
# Keys that change neither images nor labels.
NO_DATA_KEYS = ('pipeline', 'lazy_init', 'serialize_data', 'max_refetch', 'cache_dir')


@dataclass(frozen=True)
class SplitConfig:
    """A data set that a config names, under one name or several.

    Attributes:
        names (tuple[str, ...]): Such as 'train', or 'step2/train' for a data set of
            one step.
        dataset (dict): Its config.
        pipelines (tuple): The pipelines of all the names.
    """

    names: tuple[str, ...]
    dataset: dict
    pipelines: tuple

    @property
    def name(self) -> str:
        """str: The first of the names."""
        return self.names[0]


def find_splits(cfg: Config) -> list[SplitConfig]:
    """Find the data sets that a config names, each once.

    Two data sets are the same if their configs are, apart from the pipeline and other
    keys that change neither images nor labels. A config with steps names the training
    and validation sets of its steps, and the test set of the config itself.

    Args:
        cfg (Config): The config.

    Returns:
        list[SplitConfig]: In the order train, val, test.

    Raises:
        ValueError: If the config names no data set.
    """
    named = []
    for step, part in configs_of_steps(cfg):
        kinds: Sequence[str] = KINDS
        if step_names(cfg):
            kinds = ('train', 'val') if step else ('test',)
        for kind in kinds:
            dataset = (part.get(f'{kind}_dataloader') or {}).get('dataset')
            if dataset is not None:
                named.append((kind, step, _plain(dataset)))
    if not named:
        raise ValueError(
            'The config names no data set. Expected train_dataloader, val_dataloader '
            'or test_dataloader with dataset=dict(type=...).'
        )
    groups: dict[str, list[tuple[str, str, dict]]] = {}
    for kind, step, dataset in named:
        key = json.dumps(without(dataset, NO_DATA_KEYS), sort_keys=True, default=repr)
        groups.setdefault(key, []).append((kind, step, dataset))
    all_steps = {step for _, step, _ in named} - {''}
    splits = []
    for group in groups.values():
        names: list[str] = []
        for kind in KINDS:
            steps = {step for other, step, _ in group if other == kind}
            # One name for what all steps share.
            if steps and steps >= ({''} if kind == 'test' else all_steps or {''}):
                names.append(kind)
            else:
                names += [f'{step}/{kind}' for step in sorted(steps)]
        pipelines = [found for *_, data in group for found in _find(data, 'pipeline')]
        splits.append(SplitConfig(tuple(names), group[0][2], tuple(pipelines)))
    return sorted(splits, key=lambda split: KINDS.index(split.name.split('/')[-1]))


def configs_of_steps(cfg: Config) -> Iterator[tuple[str, Config]]:
    """Give the config itself under the name '', and the config of each of its steps."""
    yield '', cfg
    for name in step_names(cfg):
        yield name, step_config(cfg, name)


def transforms_of(pipeline: Any) -> Iterator[tuple[str, dict]]:
    """Give name and config of every transform of a pipeline, nested ones too."""
    if isinstance(pipeline, dict):
        if 'type' in pipeline:
            kind = pipeline['type']
            name = kind if isinstance(kind, str) else kind.__name__
            yield name.rpartition('.')[-1], pipeline
        pipeline = list(pipeline.values())
    if isinstance(pipeline, (list, tuple)):
        for part in pipeline:
            yield from transforms_of(part)


def without(config: Any, keys: Sequence[str]) -> Any:
    """Copy a config without some keys, at all levels."""
    if isinstance(config, dict):
        return {k: without(v, keys) for k, v in config.items() if k not in keys}
    if isinstance(config, (list, tuple)):
        return type(config)(without(part, keys) for part in config)
    return config


def _plain(config: Any) -> Any:
    """Copy a config as plain dicts and lists."""
    if isinstance(config, Mapping):
        return {key: _plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(map(_plain, config))
    return config


def _find(config: Any, key: str) -> Iterator[Any]:
    """Give all values of a key, at all levels of a config."""
    parts = config
    if isinstance(config, dict):
        if key in config:
            yield config[key]
        parts = [value for name, value in config.items() if name != key]
    if isinstance(parts, (list, tuple)):
        for part in parts:
            yield from _find(part, key)
