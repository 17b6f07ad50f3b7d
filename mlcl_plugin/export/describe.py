# SPDX-License-Identifier: Apache-2.0
"""What an exported file says of its model, from config and model."""

from collections.abc import Sequence
from typing import Any

import mmcv
import torch
from mmcv.transforms import BaseTransform, CenterCrop, Resize
from mmpretrain.datasets import PackInputs, ResizeEdge
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import nn

from ..datasets.transforms.load_image import LoadImage
from ..inference import MultiLabelInferencer
from ..runtime import INTERPOLATIONS, ModelInfo
from ..version import __version__


def describe_model(
    inferencer: MultiLabelInferencer, size: Sequence[int], outputs: Sequence[str]
) -> ModelInfo:
    """Describe a model with its preparation of images and its decisions.

    Args:
        inferencer (MultiLabelInferencer): The model.
        size (Sequence[int]): Height and width of prepared images.
        outputs (Sequence[str]): Names of the outputs.

    Returns:
        ModelInfo: The description.

    Raises:
        ValueError: If a step of the test pipeline, or a setting of the preprocessor,
            has no form outside of torch.
    """
    decisions = inferencer.rule.decisions
    temperatures = decisions.temperatures
    steps, max_pixels = _describe_pipeline(inferencer.pipeline)
    mean, std, to_rgb = _describe_preprocessor(inferencer.model.data_preprocessor, size)
    return ModelInfo(
        classes=list(inferencer.classes),
        thresholds=decisions.thresholds.tolist(),
        temperatures=None if temperatures is None else temperatures.tolist(),
        topk=inferencer.rule.topk,
        size=list(size),
        steps=steps,
        mean=mean,
        std=std,
        channels='rgb' if to_rgb else 'bgr',
        max_pixels=max_pixels,
        outputs=list(outputs),
        made_with=dict(mlcl_plugin=__version__, torch=torch.__version__),
    )


def _describe_pipeline(
    transforms: Sequence[BaseTransform],
) -> tuple[list[dict], int | None]:
    """The steps of a test pipeline, and the most pixels of an image."""
    loader, *rest = transforms
    if not isinstance(loader, LoadImage):
        raise _unknown(loader)
    if (
        loader.color_type != 'color'
        or loader.imdecode_backend not in ('cv2', None)
        or loader.to_float32
    ):
        raise _unknown(loader)
    steps = [_describe(item) for item in rest if not isinstance(item, PackInputs)]
    return steps, loader.max_pixels


def _describe(transform: BaseTransform) -> dict[str, Any]:
    """A step of the preparation."""
    kind = type(transform)
    if kind is CenterCrop:
        width, height = transform.crop_size
        if not transform.auto_pad:
            return dict(step='center_crop', width=int(width), height=int(height))
    elif kind in (Resize, ResizeEdge):
        backend = transform.backend or mmcv.image.io.imread_backend
        interpolation = transform.interpolation
        if backend == 'cv2' and interpolation in INTERPOLATIONS:
            if kind is ResizeEdge:
                return dict(
                    step='resize_edge',
                    edge=transform.edge,
                    size=int(transform.scale),
                    interpolation=interpolation,
                )
            if transform.scale and not transform.keep_ratio:
                width, height = transform.scale
                return dict(
                    step='resize',
                    width=int(width),
                    height=int(height),
                    interpolation=interpolation,
                )
    raise _unknown(transform)


def _unknown(transform: BaseTransform) -> ValueError:
    return ValueError(
        f'The test pipeline has {transform!r:.300}, which an exported file cannot '
        'describe. It knows LoadImage in colour by OpenCV, Resize to a fixed size, '
        'ResizeEdge and CenterCrop without padding, and PackInputs.'
    )


def _describe_preprocessor(
    preprocessor: nn.Module, size: Sequence[int]
) -> tuple[list[float] | None, list[float] | None, bool]:
    """Mean and standard deviation of channels, and whether their order changes."""
    if not isinstance(preprocessor, ClsDataPreprocessor):
        raise ValueError(
            f'The data preprocessor is a {type(preprocessor).__name__}, which an '
            'exported file cannot describe. It knows ClsDataPreprocessor and '
            'MultiViewDataPreprocessor.'
        )
    divisor = preprocessor.pad_size_divisor
    if any(side % divisor for side in size):
        raise ValueError(
            f'data_preprocessor.pad_size_divisor={divisor} pads images of {size[0]} x '
            f'{size[1]} pixels, which an exported file does not do.'
        )
    if not preprocessor._enable_normalize:
        return None, None, preprocessor.to_rgb
    mean, std = (x.flatten().tolist() for x in (preprocessor.mean, preprocessor.std))
    return mean, std, preprocessor.to_rgb
