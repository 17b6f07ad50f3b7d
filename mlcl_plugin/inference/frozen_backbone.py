# SPDX-License-Identifier: Apache-2.0
"""Train neck and head on features of a frozen backbone, computed once."""

import json
import os.path as osp
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader, Runner, set_random_seed
from mmengine.utils import ProgressBar
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader

from ..datasets.annotation_files import decode_json
from ..engine import (
    changes_everywhere,
    check_checkpoint,
    fit_checkpoint,
    innermost_dataset,
)
from ..engine.checkpoint_fit import weights_of

SPLITS = ('train', 'val', 'tune')


def extract_features(
    cfg: Config,
    folder: str | Path,
    num_views: int = 8,
    checkpoint: str | None = None,
    seed: int = 0,
) -> None:
    """Compute what the backbone of a recipe gives for fixed views of its images.

    For each split a file ``(N, V, ...)`` of float16 features is written, with an
    annotation file in the form of MMPretrain's ``MultiLabelDataset``. Split ``train``
    has V views per image, drawn from the training pipeline of the recipe. Split ``val``
    has one view per image. Split ``tune`` has one view per training image by the
    validation pipeline, for tuning on a part of the training images. The backbone is in
    evaluation mode. A split whose files exist is not computed again, so that an
    interrupted call can be repeated.

    Args:
        cfg (Config): The recipe. Its training pipeline must give one view.
        folder (str | Path): Where to write ``train.npy``, ``train.json`` and so on.
        num_views (int): Number of views V of each training image. Defaults to 8.
        checkpoint (str, optional): Weights of the model. None takes those that the
            recipe's backbone starts from. Defaults to None.
        seed (int): Seed of the views. Defaults to 0.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it lacks weights of the backbone.
        ValueError: If ``num_views`` is not positive, the training pipeline gives
            several views, or the folder holds features made with other settings.
    """
    if num_views < 1:
        raise ValueError(f'num_views must be positive, got {num_views}.')
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = dict(
        num_views=num_views,
        checkpoint=checkpoint,
        seed=seed,
        backbone=cfg.model.backbone,
        data_preprocessor=cfg.data_preprocessor,
    )
    loaders = {split: _loader(cfg, split) for split in SPLITS}
    missing = [
        split
        for split, loader in loaders.items()
        if not _is_made(folder / f'{split}.json', settings, loader.dataset)
    ]
    if not missing:
        return
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    set_random_seed(seed)
    model = MODELS.build(
        dict(cfg.model, data_preprocessor=deepcopy(cfg.data_preprocessor))
    )
    model.init_weights()
    if checkpoint is not None:
        _load_backbone(model, checkpoint)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model.to(device).eval()
    for split in missing:
        loader_cfg = loaders[split]
        views = num_views if split == 'train' else 1
        # The workers of a loader start from its seed. The same seed for all views would
        # make them equal.
        passes = [
            Runner.build_dataloader(loader_cfg, seed=seed + 1000 * view)
            for view in range(views)
        ]
        made_of = _settings(settings, loader_cfg.dataset)
        _write(model, passes, folder / split, made_of)


def _load_backbone(model: BaseModel, path: str) -> None:
    """Load what a checkpoint of a model, or of a backbone alone, has for a backbone."""
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    state = weights_of(checkpoint, path)
    prefix = 'backbone.'
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    checkpoint['state_dict'] = own or state
    fit_checkpoint(model.backbone, checkpoint, path)
    model.backbone.load_state_dict(checkpoint['state_dict'], strict=False)


def _loader(cfg: Config, split: str) -> ConfigDict:
    """Make the config of a loader of a split's images, in order and complete."""
    loader = deepcopy(cfg.train_dataloader if split == 'train' else cfg.val_dataloader)
    if split == 'tune':
        pipeline = loader.dataset.pipeline
        loader.dataset = deepcopy(cfg.train_dataloader.dataset)
        loader.dataset.pipeline = pipeline
    loader.update(sampler=dict(type='DefaultSampler', shuffle=False), drop_last=False)
    return loader


def _settings(settings: dict, dataset: ConfigDict) -> dict:
    """All settings of the features of a split, as they are read back from JSON."""
    return json.loads(json.dumps(dict(settings, dataset=dataset), default=str))


def _is_made(path: Path, settings: dict, dataset: ConfigDict) -> bool:
    """Whether the features of a split exist.

    Raises:
        ValueError: If they were made with other settings.
    """
    if not path.exists():
        return False
    content = decode_json(path.read_bytes(), str(path))
    found = content.get('settings') if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise ValueError(
            f'{path} does not say how its features were made. Delete the folder, or '
            'use another one.'
        )
    expected = _settings(settings, dataset)
    other = sorted(key for key in expected if found.get(key) != expected[key])
    if other:
        raise ValueError(
            f'The features of {path} were made with another {", ".join(other)}: '
            + '; '.join(f'got {found.get(k)}, expected {expected[k]}' for k in other)
            + '. Delete the folder, or use another one.'
        )
    return True


@torch.no_grad()
def _write(
    model: BaseModel, loaders: list[DataLoader], stem: Path, settings: dict
) -> None:
    """Write the features of a split, one loader per view, and its annotation file."""
    dataset: BaseDataset = loaders[0].dataset
    features: np.memmap | None = None
    path = stem.with_suffix('.npy')
    progress = ProgressBar(len(loaders) * len(dataset))
    for view, loader in enumerate(loaders):
        start = 0
        for batch in loader:
            data = model.data_preprocessor(batch, False)
            if len(data['inputs']) != len(batch['data_samples']):
                raise ValueError(
                    'The training pipeline gives several views, but features are '
                    'computed view by view. Use the recipe of a step with one view.'
                )
            maps = model.backbone(data['inputs'])[-1].half().cpu().numpy()
            if features is None:
                features = np.lib.format.open_memmap(
                    path,
                    mode='w+',
                    dtype=np.float16,
                    shape=(len(dataset), len(loaders), *maps.shape[1:]),
                )
            features[start : start + len(maps), view] = maps
            start += len(maps)
            progress.update(len(maps))
    if features is None:
        raise ValueError(f'The dataset of the features {stem} has no image.')
    features.flush()
    kept = ('img_path', 'gt_label', 'gt_label_difficult', 'gt_score')
    data_list = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        info = {key: _to_json(info[key]) for key in kept if info.get(key) is not None}
        data_list.append(dict(info, feature_index=index))
    classes = list(dataset.metainfo['classes'])
    content = dict(
        metainfo=dict(classes=classes), settings=settings, data_list=data_list
    )
    # Written last, because it says that the features are complete.
    stem.with_suffix('.json').write_text(json.dumps(content))


def _to_json(value: Any) -> Any:
    """Convert arrays to lists."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def freeze_backbone(cfg: Config, folder: str | Path, num_tuning: int = 0) -> Config:
    """Turn a recipe into one that trains neck and head on stored features.

    The backbone becomes an :class:`IdentityBackbone`. Datasets read the files of
    :func:`extract_features`. A pipeline with several views draws that many of the
    stored ones. Everything else stays as it is: steps, schedules, losses, metrics.

    Args:
        cfg (Config): The recipe, with steps or without.
        folder (str | Path): The folder of the features.
        num_tuning (int): Number of training images, the last ones, that are left out
            of training and replace the validation images. Defaults to 0.

    Returns:
        Config: A new config.

    Raises:
        FileNotFoundError: If the folder lacks a file.
    """
    folder = Path(folder)
    for split in SPLITS:
        for suffix in ('.npy', '.json'):
            if not (folder / f'{split}{suffix}').is_file():
                raise FileNotFoundError(
                    f"There is no '{folder / split}{suffix}'. Make it with "
                    'tools/extract_features.py.'
                )
    cfg = deepcopy(cfg)
    cfg.model.backbone = ConfigDict(type='IdentityBackbone')
    cfg.data_preprocessor = ConfigDict(
        type='MultiViewDataPreprocessor', channels_last=True
    )
    fields = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for field in [field for field in fields if cfg.get(field) is not None]:
        if field == 'train_dataloader':
            split = 'train'
        else:
            split = 'tune' if num_tuning else 'val'
        stored = _Stored(folder, split, cfg.model.head.num_classes, num_tuning)
        for changes in changes_everywhere(cfg):
            loader = changes.get(field) or {}
            if 'dataset' in loader:
                views = changes.get('data_preprocessor', {}).get('num_views')
                stored.replace_images(loader, views)
    return cfg


class _Stored(NamedTuple):
    """Stored features of a split."""

    folder: Path
    split: str
    num_classes: int
    num_tuning: int

    def pipeline(self, num_views: int | None) -> list[dict]:
        """Make a pipeline of stored features; training images have random views."""
        return [
            dict(
                type='LoadFeatureMap',
                path=osp.abspath(self.folder / f'{self.split}.npy'),
                num_views=num_views,
                random=self.split == 'train',
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
        if original.get('indices') is not None:
            stored.indices = original.indices
        if self.num_tuning and self.split == 'train':
            content = json.loads((self.folder / 'train.json').read_text())
            stored.indices = len(content['data_list']) - self.num_tuning
        elif self.num_tuning:
            stored.indices = -self.num_tuning
        return stored

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
