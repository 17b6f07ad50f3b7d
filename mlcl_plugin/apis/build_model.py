# SPDX-License-Identifier: Apache-2.0
"""A model with the weights of a checkpoint."""

from pathlib import Path
from types import SimpleNamespace

from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import MODELS
from torch import nn

from ..engine import CheckpointCheckHook


def load_weights(model: nn.Module, path: str) -> dict:
    """Load a checkpoint under the same conditions as ``tools/test.py``.

    What the model has no use for, such as the projector of a contrastive loss, is left
    out.

    Args:
        model (nn.Module): Takes the weights.
        path (str): The checkpoint. Where it has EMA weights, they are its model's.

    Returns:
        dict: What the checkpoint says of its training, such as ``dataset_meta``.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is none, or lacks weights of the model.
    """
    if '://' not in path and not Path(path).is_file():
        raise FileNotFoundError(f'Checkpoint {path} does not exist.')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    # Of whatever class the unpickling of a file of another kind ends with.
    except Exception as error:
        text = ' '.join(str(error).split())
        raise ValueError(
            f'{path} is no checkpoint: {type(error).__name__}: {text}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} is no checkpoint: expected a dict, got {type(checkpoint)}.'
        )
    target = SimpleNamespace(model=model, _load_from=path)
    CheckpointCheckHook().after_load_checkpoint(target, checkpoint)
    model.load_state_dict(checkpoint['state_dict'], strict=False)
    return checkpoint.get('meta') or {}


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
        ValueError: If it is none, or lacks weights of the model.
    """
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    # Weights of the backbone come with the checkpoint.
    if 'backbone' in cfg.model:
        cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    return model.to(device).eval()
