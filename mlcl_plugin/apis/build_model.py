# SPDX-License-Identifier: Apache-2.0
"""A model with the weights of a checkpoint."""

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from torch import nn


def build_model(cfg: Config, checkpoint: str, device: str = 'cpu') -> nn.Module:
    """Build the config's model with the weights of a checkpoint.

    Args:
        cfg (Config): The config. In a config in steps, the model is that of the config
            as it stands.
        checkpoint (str): The checkpoint. Where it has EMA weights, they are its
            model's.
        device (str): Where to put the model. Defaults to 'cpu'.

    Returns:
        nn.Module: The model, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If its weights are not those of the config's model.
    """
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise FileNotFoundError(f'Checkpoint {checkpoint} does not exist.')
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    # Weights of the backbone come with the checkpoint.
    if 'backbone' in cfg.model:
        cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    try:
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    except RuntimeError as error:
        raise ValueError(
            f'The weights in {checkpoint} do not fit the model of the config. Is it '
            'the config, and of a config in steps the step, that they were trained '
            f'with? {error}'
        ) from error
    return model.to(device).eval()
