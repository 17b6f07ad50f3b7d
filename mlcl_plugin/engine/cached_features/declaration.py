# SPDX-License-Identifier: Apache-2.0
"""What ``cached_features`` of a config declares, and what does not fit it."""

import os.path as osp
from collections.abc import Iterator
from dataclasses import dataclass, fields

from mmengine.config import Config

from ..steps import base_config, innermost_dataset, step_config, step_names

FROZEN = (
    'optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(backbone='
    'dict(lr_mult=0.0))))'
)


@dataclass(frozen=True)
class CachedFeatures:
    """The config field ``cached_features``: train on features computed once.

    Attributes:
        num_views (int): Number of random views of each training image. Defaults to 5.
        dir (str, optional): The folder of the cache, also for several runs. Features of
            other images, pipelines or weights get a folder of their own in it. None is
            ``features`` in ``work_dir``. Defaults to None.
        seed (int): Seed of the views. Defaults to 0.
        engine (str): What computes the features: ``'torch'``, ``'onnxruntime'``, or
            ``'auto'``, see :class:`FeatureExtraction`. Defaults to ``'auto'``.
    """

    num_views: int = 5
    dir: str | None = None
    seed: int = 0
    engine: str = 'auto'

    @classmethod
    def from_config(cls, cfg: Config) -> 'CachedFeatures':
        """Read the field of a config.

        Raises:
            ValueError: If it has an unknown or wrong entry, or the config trains the
                backbone or mixes images.
        """
        content = cfg.cached_features
        names = [field.name for field in fields(cls)]
        if not isinstance(content, dict) or set(content) - set(names):
            raise ValueError(
                f'cached_features must be a dict with some of {names}, got {content!r}.'
            )
        read = cls(**content)
        if not isinstance(read.num_views, int) or read.num_views < 1:
            raise ValueError(
                'cached_features.num_views must be a positive integer, got '
                f'{read.num_views!r}.'
            )
        views = _single_view(base_config(cfg))
        for plain in _plain_configs(cfg):
            _check(plain, read.num_views)
            if _single_view(plain) != views:
                raise ValueError(
                    'cached_features has views of one kind, those of train_dataloader, '
                    f'but the training pipeline{_where(plain)} makes other views. Use '
                    'the same transforms, alone or inside MultiView or SharedMultiView.'
                )
        return read

    def folder(self, work_dir: str, fingerprint: str) -> str:
        """The folder of features."""
        root = self.dir or osp.join(work_dir, 'features')
        return osp.join(root, fingerprint)


def _plain_configs(cfg: Config) -> Iterator[Config]:
    """The plain config of each step; of a config without steps itself."""
    if not step_names(cfg):
        yield base_config(cfg)
    for name in step_names(cfg):
        yield step_config(cfg, name)


def _check(cfg: Config, num_views: int) -> None:
    """Refuse what does not fit features that are computed once."""
    start = 'cached_features trains on features of a frozen backbone, but'
    model = cfg.model
    rate = (cfg.optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    if (rate.get('backbone') or {}).get('lr_mult') != 0:
        raise ValueError(
            f'{start} the config trains the backbone'
            f'{_where(cfg)}. Set {FROZEN} there, or remove cached_features.'
        )
    if model.backbone.get('norm_eval') is False:
        raise ValueError(
            f'{start} backbone.norm_eval=False updates its batch norms in training. '
            'Set norm_eval=True, or remove cached_features.'
        )
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    for name, augments in (
        ('data_preprocessor.batch_augments', preprocessor.get('batch_augments')),
        ('model.train_cfg.augments', (model.get('train_cfg') or {}).get('augments')),
    ):
        if augments:
            raise ValueError(
                f'{start} {name} mixes images{_where(cfg)}, which features cannot '
                'repeat. Remove it, or remove cached_features.'
            )
    views = preprocessor.get('num_views') or 1
    if views > num_views:
        raise ValueError(
            f'data_preprocessor.num_views={views}{_where(cfg)} needs as many cached '
            f'views, got cached_features.num_views={num_views}.'
        )


def _single_view(cfg: Config) -> list | None:
    """The pipeline of one training view: that of several views if all are alike."""
    pipeline = innermost_dataset(cfg.train_dataloader.dataset).get('pipeline') or []
    flat: list = []
    for transform in pipeline:
        several = transform.get('transforms')
        if several is None or 'num_views' not in transform:
            flat.append(transform)
        elif all(item == several[0] for item in several):
            flat += several[0]
        else:
            return None
    return flat


def _where(cfg: Config) -> str:
    name = cfg.get('experiment_name')
    return f' in {name}' if name else ''
