# SPDX-License-Identifier: Apache-2.0
"""Write the config of a fit, complete in itself."""

import math
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..datasets.forms import write_labels
from ..engine import changes_everywhere, load_config, merge_options
from ..recipes import find_config
from .backbone import Backbone, feature_channels
from .console import LINES
from .options import FitOptions
from .recipe import Recipe
from .split_data import Parts

BASES = {
    'frozen': 'mlcl_efflite0_tabular_frozen',
    'full': 'mlcl_efflite0_tabular',
}
TEST_BATCH = 8
"""Images of a test batch. On a CPU their feature maps fit its cache."""
CHECKPOINTS = 3
"""Checkpoints of a step that a fit may be resumed from."""
FIELDS = (
    'auto_scale_lr',
    'cached_features',
    'custom_hooks',
    'custom_imports',
    'data_preprocessor',
    'default_hooks',
    'default_scope',
    'env_cfg',
    'launcher',
    'load_from',
    'log_level',
    'model',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'resume',
    'runner_type',
    'steps',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'train_cfg',
    'train_dataloader',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'vis_backends',
    'visualizer',
)
"""Fields that a runner reads. The other variables of a recipe have been used."""


def write_tables(parts: Parts, out: Path) -> dict[str, Path]:
    """Write a table of each part: what the training reads.

    Args:
        parts (Parts): The photographs.
        out (Path): The folder of the fit.

    Returns:
        dict[str, Path]: The table of each part.
    """
    folder = out / 'data'
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for name, labels in parts.parts.items():
        tables[name] = folder / f'{name}.csv'
        write_labels(labels, tables[name], style='columns', overwrite=True)
    return tables


def make_config(
    options: FitOptions,
    parts: Parts,
    recipe: Recipe,
    backbone: Backbone,
    tables: dict[str, Path],
) -> Config:
    """Make the config that trains a recipe on these photographs.

    Args:
        options (FitOptions): What the user wants.
        parts (Parts): The photographs.
        recipe (Recipe): How to train.
        backbone (Backbone): The backbone.
        tables (dict[str, Path]): The table of each part.

    Returns:
        Config: A config without bases.

    Raises:
        ValueError: If an option names a field that is not there.
    """
    base = load_config(find_config(BASES[recipe.kind]))
    cfg = Config({key: base[key] for key in FIELDS if key in base})
    out = options.out.absolute()
    cfg.work_dir = str(out / 'train')
    cfg.randomness = dict(seed=options.seed)
    _set_data(cfg, parts, recipe, tables)
    _set_schedule(cfg, recipe)
    _set_model(cfg, parts, recipe, backbone)
    if recipe.kind == 'frozen':
        cfg.cached_features = dict(
            num_views=recipe.num_views, dir=str(out / 'features'), seed=options.seed
        )
    merge_options(cfg, options.cfg_options)
    return cfg


def _set_data(
    cfg: Config, parts: Parts, recipe: Recipe, tables: dict[str, Path]
) -> None:
    for part, size in dict(train=recipe.batch_size, val=64, test=TEST_BATCH).items():
        loader = cfg[f'{part}_dataloader']
        # Without a test part the validation images stand in for it.
        table = tables.get(part, tables['val'])
        loader.dataset.update(
            data_root='',
            ann_file=str(table.absolute()),
            data_prefix=dict(img_path=str(parts.root)),
            classes=list(parts.classes),
        )
        loader.update(batch_size=size, num_workers=0)
        loader.pop('persistent_workers', None)
    for pipeline in _pipelines(cfg):
        _set_size(pipeline, recipe.image_size, recipe.view_size)
    for changes in cfg.steps.values():
        if 'batch_size' in (changes.get('train_dataloader') or {}):
            number = len(parts.parts['train'].images)
            own = min(changes.train_dataloader.batch_size, number)
            changes.train_dataloader.batch_size = own


def _pipelines(cfg: Config) -> Iterator[list]:
    for changes in changes_everywhere(cfg):
        for part in ('train', 'val', 'test'):
            dataset = (changes.get(f'{part}_dataloader') or {}).get('dataset') or {}
            if 'pipeline' in dataset:
                yield dataset['pipeline']


def _set_size(transforms: list, size: int, view_size: int) -> None:
    """Set the size of images, and that of random views."""
    for transform in transforms:
        if isinstance(transform, list):
            _set_size(transform, size, view_size)
            continue
        if transform['type'] == 'RandomResizedCrop':
            transform['scale'] = view_size
        elif transform['type'] == 'Resize':
            transform['scale'] = (size, size)
        _set_size(transform.get('transforms') or [], size, view_size)


def _set_schedule(cfg: Config, recipe: Recipe) -> None:
    first, second = recipe.epochs
    cfg.train_cfg.max_epochs = first
    cfg.train_cfg.val_interval = max(1, math.ceil(first / LINES))
    cfg.param_scheduler[1].update(T_max=first, end=first)
    cfg.steps.step1.train_cfg.max_epochs = first
    cfg.steps.step2.train_cfg.max_epochs = second
    cfg.steps.step2.param_scheduler[0].update(T_max=second, end=second)
    interval = max(1, math.ceil(first / CHECKPOINTS))
    cfg.default_hooks.checkpoint.update(interval=interval, max_keep_ckpts=1)
    cfg.default_hooks.logger.interval = 10
    if not recipe.contrast:
        cfg.steps.step2.pop('model', None)


def _set_model(cfg: Config, parts: Parts, recipe: Recipe, backbone: Backbone) -> None:
    number = len(parts.classes)
    cfg.model.neck.num_classes = number
    cfg.model.head.num_classes = number
    if backbone.config is not None:
        cfg.model.backbone = ConfigDict(backbone.config)
        cfg.data_preprocessor.update(
            mean=list(backbone.mean), std=list(backbone.std), to_rgb=backbone.to_rgb
        )
        cfg.model.neck.in_channels = feature_channels(cfg)
        for member in cfg.model.get('neighbours', ()):
            # Its weights are those of the default backbone.
            member.pop('source', None)
    if recipe.kind == 'frozen':
        cfg.model.weights = list(recipe.weights)
        for member in cfg.model.neighbours:
            if recipe.tunes_regression and member['type'] == 'PooledLogistic':
                member['strength'] = None
