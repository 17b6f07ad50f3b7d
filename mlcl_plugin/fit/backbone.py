# SPDX-License-Identifier: Apache-2.0
"""The backbone of a fit, by its name."""

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.apis import ModelHub
from mmpretrain.registry import MODELS
from torch import nn

DEFAULT = 'efflite0'
TIMM = 'timm/'


class Backbone(NamedTuple):
    """A backbone with pre-trained weights, and how images enter it.

    ``config`` is None for that of the recipe itself.
    """

    name: str
    config: dict[str, Any] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    to_rgb: bool = True


def find_backbone(name: str) -> Backbone:
    """Find a backbone by its name.

    Args:
        name (str): ``'efflite0'``, ``'timm/NAME'`` for a model of timm, or the name of
            a model of MMPretrain.

    Returns:
        Backbone: Its config.

    Raises:
        ValueError: If there is no such backbone.
    """
    if name == DEFAULT:
        return Backbone('EfficientNet-Lite0')
    if name.startswith(TIMM):
        return _from_timm(name.removeprefix(TIMM))
    if not ModelHub.has(name):
        raise ValueError(
            f"There is no backbone backbone='{name}', expected '{DEFAULT}', "
            f"'{TIMM}NAME' for a model of timm, or a name of mmpretrain.list_models()."
        )
    index = ModelHub.get(name)
    cfg = index.config
    config = deepcopy(dict(cfg.model.backbone))
    if index.weights:
        config['init_cfg'] = dict(
            type='Pretrained', checkpoint=index.weights, prefix='backbone.'
        )
    preprocessor = cfg.get('data_preprocessor') or cfg.model.get('data_preprocessor')
    return Backbone(
        name,
        config,
        tuple(preprocessor['mean']),
        tuple(preprocessor['std']),
        bool(preprocessor.get('to_rgb', False)),
    )


def _from_timm(name: str) -> Backbone:
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f'*{name.split(".")[0][:8]}*')[:5]
        raise ValueError(
            f"timm has no model '{name}' (backbone='{TIMM}{name}')"
            + (f'; it has {", ".join(near)}.' if near else '.')
        )
    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        raise ValueError(f"timm has no pre-trained weights of '{name}'.")
    pixel = 255.0
    return Backbone(
        f'timm {name}',
        dict(type='TIMMBackbone', model_name=name, pretrained=True),
        tuple(pixel * value for value in settings.mean),
        tuple(pixel * value for value in settings.std),
    )


def feature_channels(cfg: Config) -> int:
    """Channels of the last features of a config's backbone, at its image size.

    Raises:
        ValueError: If they are neither a map nor tokens.
    """
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        config = deepcopy(cfg.model.backbone)
        config.pop('init_cfg', None)
        if config.get('type') == 'TIMMBackbone':
            config['pretrained'] = False
        backbone: nn.Module = MODELS.build(config)
    size = cfg.test_dataloader.dataset.pipeline[1]['scale']
    # MMPretrain's backbones return nothing here.
    backbone.eval()
    with torch.no_grad():
        last = backbone(torch.zeros(1, 3, *size))[-1]
    if last.ndim != 4:
        raise ValueError(
            f'The backbone gives features of the shape {tuple(last.shape)}, expected a '
            'map (B, C, H, W). For a transformer set out_type="featmap" in its config, '
            'see docs/modules.md.'
        )
    return last.shape[1]
