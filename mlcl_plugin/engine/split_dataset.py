# SPDX-License-Identifier: Apache-2.0
"""The dataset of a split, as the test pipeline shows its images."""

import copy
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from .steps import innermost_dataset

# Wrappers that show images more often than once.
REPEATING = ('RepeatDataset', 'ClassBalancedDataset')


def pipeline_of_test(cfg: Config) -> list[dict]:
    """The pipeline that shows images as in a test.

    Args:
        cfg (Config): A config without steps, or of one step.

    Raises:
        ValueError: If the config has no test dataset with a pipeline of its own.
    """
    loader = cfg.get('test_dataloader')
    inner = {} if loader is None else innermost_dataset(loader.dataset)
    if 'pipeline' not in inner:
        raise ValueError(
            'Images are to be shown as in a test, but the config has no '
            'test_dataloader with a dataset that has a pipeline. Set '
            'test_dataloader, to the val_dataloader for example.'
        )
    return inner['pipeline']


def build_split(cfg: Config, split: str, repeated: bool = True) -> BaseDataset:
    """Build the dataset of a split with the test pipeline.

    Args:
        cfg (Config): A config without steps, or of one step.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        repeated (bool): Keep wrappers that repeat images. Defaults to True.

    Returns:
        BaseDataset: The dataset, in its wrappers.

    Raises:
        ValueError: See :func:`pipeline_of_test`.
    """
    return DATASETS.build(split_config(cfg, split, repeated))


def split_config(cfg: Config, split: str, repeated: bool = True) -> ConfigDict:
    """Make the config of the dataset that :func:`build_split` builds.

    Args:
        cfg (Config): A config without steps, or of one step.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        repeated (bool): Keep wrappers that repeat images. Defaults to True.

    Raises:
        ValueError: See :func:`pipeline_of_test`.
    """
    config = copy.deepcopy(cfg[f'{split}_dataloader'].dataset)
    if not repeated:
        while str(config.get('type')).split('.')[-1] in REPEATING:
            config = config['dataset']
    if split != 'test':
        _set_pipeline(config, pipeline_of_test(cfg))
    return config


def chosen_images(indices: int | Sequence[int] | None, number: int) -> list[int]:
    """List the images that ``indices`` of a dataset chooses, as MMEngine reads it.

    Args:
        indices (int | Sequence[int], optional): The first images, with a negative
            number the last ones, or a list of images. None chooses all.
        number (int): Number of images without ``indices``.

    Examples:
        >>> chosen_images(2, 5), chosen_images(-2, 5), chosen_images([4, -5], 5)
        ([0, 1], [3, 4], [4, 0])
    """
    images = range(number)
    if indices is None:
        return list(images)
    if isinstance(indices, int):
        return list(images[:indices] if indices >= 0 else images[indices:])
    return [images[index] for index in indices]


def build_views(cfg: Config) -> BaseDataset:
    """Build the training images as the training pipeline shows them, each once.

    Args:
        cfg (Config): A config without steps, or of one step.

    Returns:
        BaseDataset: The dataset, without wrappers that repeat images.
    """
    config = copy.deepcopy(cfg.train_dataloader.dataset)
    while str(config.get('type')).split('.')[-1] in REPEATING:
        config = config['dataset']
    return DATASETS.build(config)


def _set_pipeline(config: dict, pipeline: list) -> None:
    """Set the pipeline of a dataset, of all if several are joined."""
    inner = innermost_dataset(config)
    if 'datasets' in inner:
        for item in inner['datasets']:
            _set_pipeline(item, pipeline)
    else:
        inner['pipeline'] = copy.deepcopy(pipeline)
