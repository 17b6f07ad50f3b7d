# SPDX-License-Identifier: Apache-2.0
"""A model with the weights of a checkpoint."""

import copy
import os
from collections.abc import Sequence
from os import PathLike

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import MODELS
from torch import nn

from ..engine import fit_checkpoint
from .label_names import read_dataset_meta


def load_weights(
    model: BaseModel, path: str | PathLike, optional: Sequence[str] = ()
) -> dict:
    """Load a checkpoint under the same conditions as a test of the runner.

    Weights that the model does not have, such as those of the projector of a
    contrastive loss, are left out. The model knows the labels of the checkpoint
    afterwards, see :func:`check_model_labels`.

    Args:
        model (BaseModel): Gets the weights.
        path (str | PathLike): The checkpoint. If it has EMA weights, they are its
            model's.
        optional (Sequence[str]): Prefixes of the names of weights that may be missing.
            Defaults to none.

    Returns:
        dict: What the checkpoint says about its training, such as ``dataset_meta``.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If the file cannot be used as a checkpoint, or lacks weights of
            the model.
    """
    path = os.fspath(path)
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    fit_checkpoint(model, checkpoint, path, optional)
    model.load_state_dict(checkpoint['state_dict'], strict=False)
    meta = checkpoint.get('meta') or {}
    # As MMPretrain's get_model.
    model._dataset_meta = read_dataset_meta(meta)
    return meta


def load_model(
    cfg: Config, checkpoint: str, optional: Sequence[str] = ()
) -> tuple[BaseModel, dict]:
    """Build the model of a config and load trained weights.

    Args:
        cfg (Config): A config without steps, or of one step.
        checkpoint (str): The file.
        optional (Sequence[str]): Prefixes of the names of weights that may be missing.
            Defaults to none.

    Returns:
        tuple[BaseModel, dict]: The model, and what the checkpoint says about its
        training.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If the file cannot be used as a checkpoint, or lacks weights of
            the model.
    """
    config = copy.deepcopy(cfg.model)
    config.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    # Weights of the backbone come with the checkpoint.
    if 'backbone' in config:
        config.backbone.init_cfg = None
    model = MODELS.build(config)
    return model, load_weights(model, checkpoint, optional)


def build_model(cfg: Config, checkpoint: str, device: str = 'cpu') -> nn.Module:
    """Build the config's model with the weights of a checkpoint.

    Args:
        cfg (Config): The config. Steps are ignored: the model is that of the config
            without their changes.
        checkpoint (str): The checkpoint. If it has EMA weights, they are its model's.
        device (str): Where to put the model. Defaults to 'cpu'.

    Returns:
        nn.Module: The model, in evaluation mode. It knows the labels of the
        checkpoint, see :func:`check_model_labels`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If the file cannot be used as a checkpoint, or lacks weights of
            the model.
    """
    model, _ = load_model(cfg, checkpoint)
    return model.to(device).eval()
