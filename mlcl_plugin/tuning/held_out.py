# SPDX-License-Identifier: Apache-2.0
"""Training images that trials are not trained on, but judged by."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from mmengine.config import Config, ConfigDict

from ..datasets.dataset_targets import dataset_targets
from ..datasets.stratified_split import StratifiedSplit, stratified_split
from ..engine import base_config, build_split, changes_everywhere, innermost_dataset
from ..engine.split_dataset import chosen_images, pipeline_of_test, split_config
from ..engine.steps import trained_configs

SHOWN = ('indices', 'pipeline')
"""What may differ between datasets of the same images."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """How the training images of a config are divided for a search.

    Attributes:
        trained (list[int]): Indices of the images that trials are trained on, in the
            dataset without its ``indices``.
        held_out (list[int]): Those of the images that trials are judged by.
        paths (list[str]): Where the held-out images are; empty for a dataset without
            image files.
        split (StratifiedSplit): How well both parts match.
    """

    trained: list[int]
    held_out: list[int]
    paths: list[str]
    split: StratifiedSplit


def hold_out(cfg: Config, share: float, seed: int = 0) -> HeldOut:
    """Draw held-out images from the training images of a config, by their labels.

    Only images that the config trains on are drawn from, see ``indices`` of its
    dataset. The validation and test images are not read.

    Args:
        cfg (Config): The config, with steps or without.
        share (float): The share of the training images that is held out, between 0
            and 1.
        seed (int): Seed of the division. Defaults to 0.

    Returns:
        HeldOut: Both parts.

    Raises:
        ImportError: If iterative-stratification is missing.
        ValueError: If the images cannot be divided.
    """
    plain = base_config(cfg)
    inner = innermost_dataset(plain.train_dataloader.dataset)
    if 'datasets' in inner:
        raise ValueError(
            f'A part of the training images is held out, but {inner["type"]} joins '
            'several data sets. Use a single data set.'
        )
    indices = inner.pop('indices', None)
    dataset = build_split(plain, 'train', repeated=False)
    images = chosen_images(indices, len(dataset))
    targets = dataset_targets(dataset)[images]
    split = stratified_split(
        targets,
        list(map(str, dataset.metainfo['classes'])),
        {'trained': 1 - share, 'held out': share},
        seed,
    )
    trained, held_out = ([images[i] for i in part] for part in split.parts.values())
    infos = [dataset.get_data_info(index) for index in held_out]
    paths = [info['img_path'] for info in infos if 'img_path' in info]
    return HeldOut(trained, held_out, paths, split)


def train_without(cfg: Config, parts: HeldOut) -> Config:
    """Make the config of a trial: it trains on one part and validates on the other.

    The held-out images take the place of the validation and of the test images, with
    the test pipeline, in all steps.

    Args:
        cfg (Config): The config, with steps or without.
        parts (HeldOut): The division.

    Returns:
        Config: A new config.

    Raises:
        ValueError: If the config has no validation, or a step has other images.
    """
    cfg = copy.deepcopy(cfg)
    plain = base_config(cfg)
    for field in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        if cfg.get(field) is None:
            raise ValueError(
                f'Trials are compared by their validation, but the config has no '
                f'{field}.'
            )
    pipeline_of_test(plain)
    images = split_config(plain, 'train', repeated=False)
    innermost_dataset(images)['indices'] = list(parts.held_out)
    for changes in changes_everywhere(cfg):
        for field in ('val_dataloader', 'test_dataloader'):
            loader = changes.get(field)
            if loader is None:
                continue
            loader.pop('dataset', None)
            if changes is cfg._cfg_dict or loader.get('_delete_'):
                loader.dataset = copy.deepcopy(images)
    _train_on(cfg, parts.trained)
    for changes in changes_everywhere(cfg):
        # They are filled after the validation, so that they cannot help a choice.
        hooks = changes.get('custom_hooks') or []
        kept = [hook for hook in hooks if hook.get('type') != 'FillNeighboursHook']
        if len(kept) < len(hooks):
            changes.custom_hooks = kept
    return cfg


def _train_on(cfg: Config, images: list[int]) -> None:
    """Let every step of a config train on the same images."""
    expected = _described(base_config(cfg))
    innermost_dataset(cfg.train_dataloader.dataset)['indices'] = list(images)
    for changes in (cfg.get('steps') or {}).values():
        dataset = (changes.get('train_dataloader') or {}).get('dataset')
        # Other changes of a step leave the images of the config as they are.
        if dataset is not None and 'type' in innermost_dataset(dataset):
            innermost_dataset(dataset)['indices'] = list(images)
    for name, plain in _named(cfg):
        inner = innermost_dataset(plain.train_dataloader.dataset)
        if _described(plain) != expected or inner.get('indices') != images:
            raise ValueError(
                f'A part of the training images is held out from all steps, but {name} '
                'trains on other images than train_dataloader of the config.'
            )


def _described(plain: Config) -> dict:
    """What says which images a plain config trains on."""
    inner: ConfigDict = innermost_dataset(plain.train_dataloader.dataset)
    return {key: value for key, value in inner.items() if key not in SHOWN}


def _named(cfg: Config) -> Iterator[tuple[str, Config]]:
    names = list(cfg.get('steps') or {}) or ['the config']
    yield from zip(names, trained_configs(cfg))
