# SPDX-License-Identifier: Apache-2.0
"""A model with the weights of a checkpoint."""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import MODELS
from torch import nn

from ..engine import check_checkpoint, fit_checkpoint


def load_weights(model: nn.Module, path: str, optional: Sequence[str] = ()) -> dict:
    """Load a checkpoint under the same conditions as ``tools/test.py``.

    Weights that the model does not have, such as those of the projector of a
    contrastive loss, are left out.

    Args:
        model (nn.Module): Gets the weights.
        path (str): The checkpoint. If it has EMA weights, they are its model's.
        optional (Sequence[str]): Prefixes of the names of weights that may be missing.
            Defaults to none.

    Returns:
        dict: What the checkpoint says about its training, such as ``dataset_meta``.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the file is not a checkpoint, or lacks weights of the model.
    """
    check_checkpoint(path)
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    # Unpickling may raise anything.
    except Exception as error:
        text = ' '.join(str(error).split())
        raise ValueError(
            f'{path} is no checkpoint: {type(error).__name__}: {text}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} is no checkpoint: expected a dict, got {type(checkpoint)}.'
        )
    fit_checkpoint(model, checkpoint, path, optional)
    model.load_state_dict(checkpoint['state_dict'], strict=False)
    return checkpoint.get('meta') or {}


def build_model(cfg: Config, checkpoint: str, device: str = 'cpu') -> nn.Module:
    """Build the config's model with the weights of a checkpoint.

    Args:
        cfg (Config): The config. Steps are ignored: the model is that of the config
            without their changes.
        checkpoint (str): The checkpoint. If it has EMA weights, they are its model's.
        device (str): Where to put the model. Defaults to 'cpu'.

    Returns:
        nn.Module: The model, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the file is not a checkpoint, or lacks weights of the model.
    """
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    # Weights of the backbone come with the checkpoint.
    if 'backbone' in cfg.model:
        cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    load_weights(model, checkpoint)
    return model.to(device).eval()
