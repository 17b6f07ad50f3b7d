# SPDX-License-Identifier: Apache-2.0
"""What ``cached_features`` of a config declares, and what does not fit it."""

import os.path as osp
from dataclasses import dataclass, fields

from mmengine.config import Config

from ..steps import base_config, innermost_dataset, trained_configs
from .training_views import TrainingViews, training_views

FROZEN = (
    'optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(backbone='
    'dict(lr_mult=0.0))))'
)


@dataclass(frozen=True)
class CachedFeatures:
    """The config field ``cached_features``: train on features computed once.

    Steps that set ``cached_features=None`` train on images instead, also the backbone.
    They come after those on features.

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
            ValueError: If it has an unknown or wrong entry, the config trains the
                backbone or mixes images, or a step on features follows one on images.
        """
        content = cfg.cached_features
        names = [field.name for field in fields(cls)]
        if not isinstance(content, dict) or set(content) - set(names):
            raise ValueError(
                f'cached_features must be a dict with some of {names}, got {content!r}.'
            )
        read = cls(**content)
        for name, least in dict(num_views=1, seed=0).items():
            value = getattr(read, name)
            if type(value) is not int or value < least:
                raise ValueError(
                    f'cached_features.{name} must be an integer of {least} or more, '
                    f'got {value!r}.'
                )
        if not isinstance(read.dir, str | None):
            raise ValueError(
                f'cached_features.dir must be a path or None, got {read.dir!r}.'
            )
        view = views_of_training(base_config(cfg)).pipeline
        for plain in steps_on_features(cfg):
            _check(plain, read.num_views)
            if views_of_training(plain).pipeline != view:
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


def steps_on_features(cfg: Config) -> list[Config]:
    """The plain configs that are trained on features.

    Args:
        cfg (Config): A config with ``cached_features``.

    Raises:
        ValueError: If there is none, or a step has other settings of its own or comes
            after a step that trains on images.
    """
    plain = list(trained_configs(cfg))
    found = [item for item in plain if item.get('cached_features') is not None]
    if not found:
        raise ValueError(
            'cached_features has no effect: each step sets cached_features=None. '
            'Remove it.'
        )
    for item in found:
        if item.cached_features != cfg.cached_features:
            raise ValueError(
                f'All steps share the features, but cached_features{_where(item)} is '
                f'{dict(item.cached_features)} and that of the config '
                f'{dict(cfg.cached_features)}. Set it outside of steps.'
            )
    if any(a is not b for a, b in zip(found, plain)):
        raise ValueError(
            'A step on features comes after one on images, which may have trained the '
            f'backbone:{_where(found[-1])}. Let the steps with cached_features=None be '
            'the last ones.'
        )
    return found


def preprocessor_of(cfg: Config) -> dict:
    """The config of the data preprocessor, wherever a plain config has it."""
    return cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}


def views_of_training(cfg: Config) -> TrainingViews:
    """The views that the training pipeline of a plain config makes, if it has one."""
    loader = cfg.get('train_dataloader')
    dataset = {} if loader is None else innermost_dataset(loader.dataset)
    return training_views(dataset.get('pipeline') or [])


def refuse_mixing(cfg: Config) -> None:
    """Refuse augmentations that mix images of a batch, which features cannot repeat.

    Args:
        cfg (Config): A plain config.

    Raises:
        ValueError: If it has any.
    """
    for name, augments in (
        (
            'data_preprocessor.batch_augments',
            preprocessor_of(cfg).get('batch_augments'),
        ),
        (
            'model.train_cfg.augments',
            (cfg.model.get('train_cfg') or {}).get('augments'),
        ),
    ):
        if augments:
            raise ValueError(
                f'Stored features are those of single images, but {name} mixes images'
                f'{_where(cfg)}. Remove it, or train on images.'
            )


def _check(cfg: Config, num_views: int) -> None:
    """Refuse what does not fit features that are computed once."""
    start = 'cached_features trains on features of a frozen backbone, but'
    model = cfg.model
    rates = (cfg.optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    if (rates.get('backbone') or {}).get('lr_mult') != 0:
        raise ValueError(
            f'{start} the config trains the backbone'
            f'{_where(cfg)}. Set {FROZEN} there, or remove cached_features.'
        )
    for key, options in rates.items():
        # A longer key has priority over that of the whole backbone.
        if key.startswith('backbone.') and (options or {}).get('lr_mult', 1) != 0:
            raise ValueError(
                f'{start} the config trains a part of the backbone{_where(cfg)}: '
                f"custom_keys has '{key}' without lr_mult=0.0. Remove this key, or "
                'remove cached_features.'
            )
    if model.backbone.get('norm_eval') is False:
        raise ValueError(
            f'{start} backbone.norm_eval=False updates its batch norms in training. '
            'Set norm_eval=True, or remove cached_features.'
        )
    refuse_mixing(cfg)
    views = views_of_training(cfg).number or 1
    expected = preprocessor_of(cfg).get('num_views')
    if expected is not None and expected != views:
        raise ValueError(
            f'data_preprocessor.num_views={expected}, but the training pipeline makes '
            f'{views} view(s) of each image{_where(cfg)}. Set both to the same number.'
        )
    if views > num_views:
        raise ValueError(
            f'The training pipeline makes {views} views of each image{_where(cfg)} and '
            f'needs as many cached views, got cached_features.num_views={num_views}.'
        )


def _where(cfg: Config) -> str:
    name = cfg.get('experiment_name')
    return f' in {name}' if name else ''
