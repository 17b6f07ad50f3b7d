# SPDX-License-Identifier: Apache-2.0
"""From config and checkpoint to a model that is ready for inference."""

import warnings
from os import PathLike

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.apis import get_model
from mmpretrain.models.heads import MultiLabelClsHead
from torch import nn

from ..engine import enable_amp
from ..runtime import ModelInfo
from .build_model import load_weights
from .config import load_model_config
from .error_text import describe_error
from .model_parts import head_of

DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
PRECISIONS = ('float32', 'amp', *DTYPES)


def check_precision(precision: str) -> None:
    """Raise a ValueError if there is no such precision."""
    if precision not in PRECISIONS:
        raise ValueError(
            "precision must be 'float32', 'bfloat16', 'float16' or 'amp', got "
            f'{precision!r}.'
        )


def build_from_config(
    model: str | PathLike | Config,
    pretrained: str | PathLike | bool,
    precision: str = 'float32',
) -> tuple[BaseModel, ModelInfo | None]:
    """Build a model with weights, as MMPretrain's ``get_model`` does.

    Args:
        model (str | PathLike | Config): See :func:`load_model_config`.
        pretrained (str | PathLike | bool): The checkpoint. True uses the config's
            ``load_from``, or else the weights that the index has for the name.
        precision (str): One of :data:`PRECISIONS`. Defaults to ``'float32'``.

    Returns:
        tuple[BaseModel, ModelInfo | None]: The model, on the CPU, and its description
        in a safetensors file.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If there is no such name, the config has no model, there are no
            weights, or they do not fit the model.
    """
    cfg, weights = load_model_config(model)
    if cfg.get('model') is None:
        raise ValueError(f'The config {cfg.filename or model} has no model.')
    checkpoint: str | PathLike | None
    if not isinstance(pretrained, bool):
        checkpoint = pretrained
    else:
        checkpoint = (cfg.get('load_from') or weights) if pretrained else None
    if not checkpoint:
        raise ValueError(
            'There are no weights: the config names none (load_from). Pass the '
            'path of a checkpoint as pretrained.'
        )
    if precision != 'float32':
        # It also sets the memory layout of images that is faster then.
        cfg.test_cfg = cfg.get('test_cfg') or {}
        enable_amp(cfg, train=False)
    built = get_model(cfg, pretrained=False)
    return built, load_weights(built, checkpoint).info


def check_given_model(model: BaseModel) -> None:
    """Raise a ValueError if a model was not made by ``mmpretrain.get_model``."""
    # get_model stores the config there.
    if getattr(model, '_config', None) is None:
        raise ValueError(
            f'The {type(model).__name__} does not know its config. Make it by '
            'mmpretrain.get_model, or pass config and checkpoint.'
        )


def multi_label_head(model: nn.Module) -> MultiLabelClsHead:
    """The head of a multi-label classifier.

    Raises:
        ValueError: If the model has no such head.
    """
    head = head_of(model)
    if not isinstance(head, MultiLabelClsHead):
        got = 'no head' if head is None else f'a {type(head).__name__}'
        raise ValueError(
            'MultiLabelInferencer needs a classifier with a head for several labels '
            f'(MultiLabelClsHead), got {type(model).__name__} with {got}. For a model '
            "with one class per image, use MMPretrain's ImageClassificationInferencer."
        )
    return head


def find_dtype(precision: str, device: str) -> torch.dtype | None:
    """Find what to autocast to.

    Args:
        precision (str): One of :data:`PRECISIONS`.
        device (str): The type of the device, such as ``'cpu'``.

    Returns:
        torch.dtype | None: None for float32.

    Raises:
        ValueError: If the device cannot autocast to it.

    Examples:
        >>> find_dtype('amp', 'cpu')
        torch.bfloat16
    """
    if precision == 'float32':
        return None
    if precision == 'amp':
        precision = 'bfloat16' if device == 'cpu' else 'float16'
    dtype = DTYPES[precision]
    try:
        with warnings.catch_warnings():
            # torch only warns of what it cannot do, and goes on in float32.
            warnings.simplefilter('error')
            torch.autocast(device, dtype)
    except (RuntimeError, UserWarning) as error:
        raise ValueError(
            f"precision='{precision}' is not available on the device {device}: "
            f'{describe_error(error)}'
        ) from error
    return dtype
