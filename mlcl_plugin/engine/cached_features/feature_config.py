# SPDX-License-Identifier: Apache-2.0
"""Turn a recipe into one that trains neck and head on stored features."""

import json
import os.path as osp
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config, ConfigDict

from ..split_dataset import chosen_images
from ..steps import (
    base_config,
    changes_everywhere,
    innermost_dataset,
    trained_configs,
)
from .declaration import refuse_mixing, views_of_training


def freeze_backbone(
    cfg: Config, folder: str | Path, num_tuning: int = 0, val_split: str = 'val'
) -> Config:
    """Turn a recipe into one that trains neck and head on stored features.

    The backbone becomes an :class:`IdentityBackbone`. Datasets read the files of
    :func:`extract_features`. A pipeline with several views draws that many of the
    stored ones. Everything else stays as it is: steps, schedules, losses, metrics.
    What steps change of the backbone is left out. ``test_dataloader`` shows the images
    of the validation: there are no features of others.

    Args:
        cfg (Config): The recipe, with steps or without.
        folder (str | Path): The folder of the features.
        num_tuning (int): Number of training images, the last ones, that are left out
            of training and replace the validation images. ``indices`` of the recipe
            choose among the others. Defaults to 0.
        val_split (str): The features that ``val_dataloader`` reads: ``'val'``, or
            ``'tune'`` if it shows training images, which its ``indices`` choose.
            Defaults to ``'val'``.

    Returns:
        Config: A new config.

    Raises:
        FileNotFoundError: If the folder lacks a file.
        ValueError: If the recipe mixes images of a batch.
    """
    folder = Path(folder)
    for plain in trained_configs(cfg):
        refuse_mixing(plain)
    splits = ['train', 'tune']
    if cfg.get('val_dataloader') is not None and val_split == 'val':
        splits.append('val')
    for split in splits:
        for suffix in ('.npy', '.json'):
            if not (folder / f'{split}{suffix}').is_file():
                raise FileNotFoundError(
                    f"There is no '{folder / split}{suffix}'. Make it with "
                    'mlcl_plugin.apis.extract_features.'
                )
    cfg = deepcopy(cfg)
    # The number of views of the config, and of each step.
    views = [
        views_of_training(x).number for x in [base_config(cfg), *trained_configs(cfg)]
    ]
    everywhere = list(changes_everywhere(cfg))
    for changes, number in zip(everywhere, views):
        model = changes.get('model') or ConfigDict()
        model.pop('backbone', None)
        if model.get('_delete_'):
            # A step with a model of its own inherits nothing.
            model.backbone = ConfigDict(type='IdentityBackbone')
        # The preprocessor of images would normalise features.
        model.pop('data_preprocessor', None)
        changes.pop('data_preprocessor', None)
        if number != views[0]:
            changes.data_preprocessor = ConfigDict(num_views=number)
    cfg.model.backbone = ConfigDict(type='IdentityBackbone')
    cfg.data_preprocessor = ConfigDict(
        type='MultiViewDataPreprocessor', channels_last=True, num_views=views[0]
    )
    fields = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for field in [field for field in fields if cfg.get(field) is not None]:
        if field == 'train_dataloader':
            split = 'train'
        else:
            split = 'tune' if num_tuning or 'val' not in splits else 'val'
        stored = _Stored(folder, split, cfg.model.head.num_classes, num_tuning)
        for changes, number in zip(everywhere, views):
            loader = changes.get(field) or {}
            if 'dataset' in loader:
                stored.replace_images(loader, number if split == 'train' else None)
    return cfg


class _Stored(NamedTuple):
    """Stored features of a split.

    Training images have random views of the training pipeline, others the one view of
    the test pipeline: each record says which file has it, so that the pipeline fits
    every split.
    """

    folder: Path
    split: str
    num_classes: int
    num_tuning: int

    def pipeline(self, num_views: int | None) -> list[dict]:
        """Make a pipeline of stored features."""
        random = self.split == 'train'
        return [
            dict(
                type='LoadFeatureMap',
                path=osp.abspath(self.folder / 'train.npy' if random else self.folder),
                num_views=num_views,
                random=random,
            ),
            dict(type='LabelsToTargets', num_classes=self.num_classes),
            dict(type='FastPackInputs'),
        ]

    def dataset(self, original: ConfigDict, num_views: int | None) -> ConfigDict:
        """Make the config that replaces a dataset of images."""
        stored = ConfigDict(
            type='MultiLabelDataset',
            ann_file=osp.abspath(self.folder / f'{self.split}.json'),
            pipeline=self.pipeline(num_views),
            test_mode=self.split != 'train',
        )
        if self.num_tuning and self.split != 'train':
            stored.indices = -self.num_tuning
        elif self.num_tuning:
            stored.indices = self._not_tuned(original.get('indices'))
        elif original.get('indices') is not None:
            stored.indices = original.indices
        return stored

    def _not_tuned(self, indices: int | Sequence[int] | None) -> int | list[int]:
        """Training images without the last ``num_tuning``."""
        content = json.loads((self.folder / 'train.json').read_text())
        number = len(content['data_list'])
        left = number - self.num_tuning
        if indices is None:
            return left
        return [image for image in chosen_images(indices, number) if image < left]

    def replace_images(self, loader: ConfigDict, num_views: int | None) -> None:
        """Let a dataloader, or a step's changes of it, read stored features.

        Wrappers around the dataset stay.
        """
        inner = innermost_dataset(loader.dataset)
        if 'type' in inner:
            stored = self.dataset(inner, num_views)
            inner.clear()
            inner.update(stored)
        else:
            # A step changes the dataset, but not its type.
            inner['pipeline'] = self.pipeline(num_views)
        # Reading takes less time than sending a batch from one process to another.
        loader.num_workers = 0
        loader.persistent_workers = False
