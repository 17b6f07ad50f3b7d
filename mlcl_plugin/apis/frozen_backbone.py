# SPDX-License-Identifier: Apache-2.0
"""Train neck and head on features of a frozen backbone, computed once."""

import json
import os.path as osp
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from mmengine.utils import ProgressBar
from mmpretrain.registry import MODELS

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
    annotation file in the form of MMPretrain's ``MultiLabelDataset``. Of training
    images, V views are drawn from the training pipeline of the recipe; of validation
    images there is one, and so there is, as split ``tune``, of training images as
    the validation pipeline shows them: whoever tunes on a part of the training images
    needs these. The backbone is in evaluation mode. A split whose files are
    there is left as it is, so that the work can be cut off and taken up again; made
    with other settings, it is an error.

    Args:
        cfg (Config): The recipe. Its training pipeline must give one view.
        folder (str | Path): Where to write ``train.npy``, ``train.json`` and so on.
        num_views (int): Number of views V of each training image. Defaults to 8.
        checkpoint (str, optional): Weights of the model. None takes those that the
            recipe's backbone starts from. Defaults to None.
        seed (int): Of the views. Defaults to 0.

    Raises:
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
    set_random_seed(seed)
    model = MODELS.build(
        dict(cfg.model, data_preprocessor=deepcopy(cfg.data_preprocessor))
    )
    model.init_weights()
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, map_location='cpu')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model.to(device).eval()
    for split in missing:
        loader_cfg = loaders[split]
        views = num_views if split == 'train' else 1
        # Workers start from the seed of their loader: with one for all views, these
        # would be drawn alike.
        passes = [
            Runner.build_dataloader(loader_cfg, seed=seed + 1000 * view)
            for view in range(views)
        ]
        made_of = _settings(settings, loader_cfg.dataset)
        _write(model, passes, folder / split, made_of)


def _loader(cfg: Config, split: str) -> ConfigDict:
    """Config of a loader of a split's images."""
    loader = deepcopy(cfg.train_dataloader if split == 'train' else cfg.val_dataloader)
    if split == 'tune':
        pipeline = loader.dataset.pipeline
        loader.dataset = deepcopy(cfg.train_dataloader.dataset)
        loader.dataset.pipeline = pipeline
    # In order and complete, whatever the recipe does.
    loader.update(sampler=dict(type='DefaultSampler', shuffle=False), drop_last=False)
    return loader


def _settings(settings: dict, dataset: ConfigDict) -> dict:
    """What features are made of, as JSON gives it back."""
    return json.loads(json.dumps(dict(settings, dataset=dataset), default=str))


def _is_made(path: Path, settings: dict, dataset: ConfigDict) -> bool:
    """Whether features are there, and made with these settings."""
    if not path.exists():
        return False
    found = json.loads(path.read_text()).get('settings') or {}
    expected = _settings(settings, dataset)
    other = sorted(key for key in expected if found.get(key) != expected[key])
    if other:
        raise ValueError(
            f'The features of {path} were made with another {", ".join(other)}: '
            + '; '.join(f'got {found.get(k)}, expected {expected[k]}' for k in other)
            + '. Delete the folder, or write to another one.'
        )
    return True


@torch.no_grad()
def _write(model, loaders: list, stem: Path, settings: dict) -> None:
    """Write the features of a split, one loader a view, and its annotation file."""
    dataset, features = loaders[0].dataset, None
    path = stem.with_suffix('.npy')
    progress = ProgressBar(len(loaders) * len(dataset))
    for view, loader in enumerate(loaders):
        start = 0
        for batch in loader:
            data = model.data_preprocessor(batch, False)
            if len(data['inputs']) != len(batch['data_samples']):
                raise ValueError(
                    'The training pipeline gives several views. Features are computed '
                    'view by view: use the recipe of a step with one view.'
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
    features.flush()
    kept = ('img_path', 'gt_label', 'gt_label_difficult', 'gt_score')
    data_list = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        info = {key: _plain(info[key]) for key in kept if info.get(key) is not None}
        data_list.append(dict(info, feature_index=index))
    classes = list(dataset.metainfo['classes'])
    content = dict(
        metainfo=dict(classes=classes), settings=settings, data_list=data_list
    )
    # Last: it says that the features are complete.
    stem.with_suffix('.json').write_text(json.dumps(content))


def _plain(value):
    """Arrays as lists, for JSON."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def freeze_backbone(cfg: Config, folder: str | Path, num_tuning: int = 0) -> Config:
    """Turn a recipe into one that trains neck and head on features computed before.

    The backbone becomes an :class:`IdentityBackbone`; datasets read the files of
    :func:`extract_features`; a pipeline with several views draws as many of the
    stored ones. Everything else stays as it is: steps, schedules, losses, metrics.

    Args:
        cfg (Config): The recipe, with steps or without.
        folder (str | Path): The folder of the features.
        num_tuning (int): Number of training images, the last ones, that are left out
            of training and take the place of the validation images. Defaults to 0.

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
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(field) is not None:
            split = 'train' if field == 'train_dataloader' else 'val'
            if num_tuning and split == 'val':
                split = 'tune'
            stored = _Stored(folder, split, cfg.model.head.num_classes, num_tuning)
            _read(cfg[field], stored)
            for changes in (cfg.get('steps') or {}).values():
                views = changes.get('data_preprocessor', {}).get('num_views')
                if 'dataset' in changes.get(field, {}):
                    _read(changes[field], stored, views)
    return cfg


class _Stored(NamedTuple):
    """Stored features of a split."""

    folder: Path
    split: str
    num_classes: int
    num_tuning: int

    def pipeline(self, num_views: int | None) -> list[dict]:
        """Pipeline of stored features; of training images with random views."""
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
        """What takes the place of a dataset of images; wrappers around it stay."""
        if 'dataset' in original:
            inner = self.dataset(original.dataset, num_views)
            return ConfigDict(original, dataset=inner)
        if 'type' not in original:
            # changes of a step
            return ConfigDict(original, pipeline=self.pipeline(num_views))
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


def _read(loader: ConfigDict, stored: _Stored, num_views: int | None = None) -> None:
    """Let a dataloader, or a step's changes of it, read stored features."""
    loader.dataset = stored.dataset(loader.dataset, num_views)
    # Reading takes less than handing a batch from one process to another.
    loader.num_workers = 0
    loader.persistent_workers = False
