# SPDX-License-Identifier: Apache-2.0
"""A model with the weights of a checkpoint."""

import copy
import os
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import MODELS
from torch import nn

from ..engine import fit_checkpoint
from ..runtime import INFO_KEY, ModelInfo
from .label_names import read_dataset_meta


class Loaded(NamedTuple):
    """What a checkpoint says beside its weights.

    Attributes:
        meta (dict): About its training, such as ``dataset_meta``.
        info (ModelInfo, optional): The description of the model in a safetensors file,
            if it holds for the model that was loaded.
    """

    meta: dict
    info: ModelInfo | None


def load_weights(
    model: BaseModel, path: str | PathLike, optional: Sequence[str] = ()
) -> Loaded:
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
        Loaded: What the checkpoint says. Its description of the model does not hold if
        the model leaves out some of its weights: scores are others then.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If the file cannot be used as a checkpoint, or lacks weights of
            the model.
    """
    path = os.fspath(path)
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    fit_checkpoint(model, checkpoint, path, optional)
    unused = model.load_state_dict(checkpoint['state_dict'], strict=False)[1]
    meta = checkpoint.get('meta') or {}
    # As MMPretrain's get_model.
    model._dataset_meta = read_dataset_meta(meta)
    info = checkpoint.get(INFO_KEY)
    if not isinstance(info, ModelInfo):
        info = None
    elif unused:
        print_log(
            f'The thresholds in {path} are not used: they belong to a model with more '
            f'weights, such as {unused[0]}.',
            'current',
        )
        info = None
    return Loaded(meta, info)


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
    return model, load_weights(model, checkpoint, optional).meta


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
