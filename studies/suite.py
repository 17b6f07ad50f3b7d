# SPDX-License-Identifier: Apache-2.0
"""Read a suite, and build the config of each of its runs."""

import json
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mlcl_plugin.apis import freeze_backbone
from mlcl_plugin.engine import (
    changes_everywhere,
    enable_amp,
    end_after,
    innermost_dataset,
    load_config,
    merge_options,
)

ROOT = Path(__file__).resolve().parents[1]

NEEDED_FIELDS = {'title', 'description', 'seeds', 'methods', 'reference'}
FIELDS = NEEDED_FIELDS | {
    'options',
    'frozen',
    'num_tuning',
    'amp',
    'embeddings',
    'neighbours',
    'wrong_labels',
}
METHOD_FIELDS = {
    'config',
    'options',
    'start',
    'until',
    'hide_labels',
    'label',
    'reference',
    'embeddings',
}


def load_suite(path: Path) -> ConfigDict:
    """Read a suite and check its fields.

    Args:
        path (Path): A file of ``studies/suites``.

    Returns:
        ConfigDict: The suite.

    Raises:
        FileNotFoundError: If the file, or a recipe that it names, does not exist.
        ValueError: If a field is unknown or missing, or a name is not a method.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no suite '{path}'.")
    suite = Config.fromfile(path)._cfg_dict
    missing, unknown = NEEDED_FIELDS - set(suite), set(suite) - FIELDS
    if missing or unknown:
        raise ValueError(
            f'{path} lacks {sorted(missing)} and has unknown entries '
            f'{sorted(unknown)}, expected {sorted(FIELDS)}.'
        )
    for name, method in suite.methods.items():
        if set(method) - METHOD_FIELDS or 'config' not in method:
            raise ValueError(
                f'{path}: method {name} has the entries {sorted(method)}, expected '
                f'config and some of {sorted(METHOD_FIELDS)}.'
            )
        if not (ROOT / method.config).is_file():
            raise FileNotFoundError(f"{path}: there is no recipe '{method.config}'.")
        for field, verb in (('start', 'starts from'), ('reference', 'refers to')):
            if method.get(field) is not None and method[field] not in suite.methods:
                raise ValueError(
                    f'{path}: {name} {verb} {method[field]}, not a method.'
                )
    if suite.reference not in suite.methods:
        raise ValueError(f'{path}: reference {suite.reference} is not a method.')
    return suite


def method_config(suite: ConfigDict, name: str, seed: int) -> Config:
    """Build the config that a method is trained with, without its folders.

    Args:
        suite (ConfigDict): The result of :func:`load_suite`.
        name (str): The method.
        seed (int): The seed.

    Returns:
        Config: With all options of suite and method.
    """
    method = suite.methods[name]
    cfg = load_config(ROOT / method.config)
    for options in (suite.get('options'), method.get('options')):
        merge_options(cfg, deepcopy(dict(options or {})))
    if suite.get('frozen'):
        cfg = freeze_backbone(cfg, suite.frozen.folder, suite.get('num_tuning', 0))
    elif suite.get('num_tuning'):
        hold_out(cfg, suite.num_tuning)
    if method.get('hide_labels'):
        hide_labels(cfg, method.hide_labels)
    if method.get('until') is not None:
        end_after(cfg, method.until)
    if suite.get('amp'):
        enable_amp(cfg, train=True)
    cfg.randomness = dict(seed=seed)
    # The last state counts: the best one would be chosen on the images that it is
    # scored on.
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_optimizer=True
    )
    return cfg


def hold_out(cfg: Config, num_tuning: int) -> None:
    """Validate on the last training images, and train on the others.

    Args:
        cfg (Config): A recipe, which is changed.
        num_tuning (int): How many training images are held out.

    Raises:
        ValueError: If no training image is left.
    """
    training = innermost_dataset(cfg.train_dataloader.dataset)
    number = count_images(json.dumps(training.to_dict(), sort_keys=True))
    if number <= num_tuning:
        raise ValueError(
            f'num_tuning must be below the {number} training images, got {num_tuning}.'
        )
    pipeline = innermost_dataset(cfg.val_dataloader.dataset).pipeline
    cfg.val_dataloader.dataset = deepcopy(training)
    cfg.val_dataloader.dataset.update(
        pipeline=pipeline, test_mode=True, indices=-num_tuning
    )
    training.indices = number - num_tuning


@lru_cache
def count_images(dataset: str) -> int:
    """Count the images of a dataset.

    Args:
        dataset (str): The config of the dataset, as JSON.

    Returns:
        int: The number of images.
    """
    init_default_scope('mmpretrain')
    return len(DATASETS.build(json.loads(dataset)))


def hide_labels(cfg: Config, options: ConfigDict) -> None:
    """Hide labels of the training images, in all steps.

    Args:
        cfg (Config): A recipe, which is changed.
        options (ConfigDict): Arguments of ``HideLabels``.
    """
    base, *steps = changes_everywhere(cfg)
    base.train_dataloader.dataset = ConfigDict(
        type='HideLabels', **options, dataset=base.train_dataloader.dataset
    )
    for changes in steps:
        loader = changes.get('train_dataloader') or {}
        if 'dataset' in loader:
            # What a step changes is now inside of the wrapper.
            loader.dataset = ConfigDict(dataset=loader.dataset)
