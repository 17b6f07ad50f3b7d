# SPDX-License-Identifier: Apache-2.0
"""Photographs to compare an exported model with torch on."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..engine import build_split
from ..inference import MultiLabelInferencer
from ..inference.sources import Source, select_sources
from ..inference.split_images import even_indices
from ..runtime import ModelInfo, read_image

BATCH = 8
"""Images that pass torch at a time."""


class RealImages(NamedTuple):
    """Photographs, and what torch gives for them.

    Attributes:
        paths (list[str]): N image files.
        inputs (Tensor): ``(N, C, H, W)``, what the model takes.
        scores (Tensor): ``(N, L)``, its predictions.
    """

    paths: list[str]
    inputs: Tensor
    scores: Tensor


def find_images(
    cfg: Config, images: str | PathLike | None, number: int
) -> list[Source]:
    """Find some image files.

    Args:
        cfg (Config): The config; its test dataset has the images.
        images (str | PathLike, optional): A folder, file or pattern instead.
        number (int): The greatest number, taken at even distances.

    Returns:
        list[Source]: Files.

    Raises:
        FileNotFoundError: If there are no images.
        ValueError: If there are no images in a folder.
    """
    if images is not None:
        found = list(select_sources(images, recursive=True).sources)
    else:
        try:
            dataset = build_split(cfg, 'test')
            paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        except (OSError, ValueError, KeyError) as error:
            raise FileNotFoundError(
                'An exported model is compared with torch on real images, but those of '
                f'the test dataset cannot be found: {error} Name a folder of '
                "photographs: images='FOLDER'."
            ) from error
        found = [Source(path, path) for path in paths if Path(path).is_file()]
    if not found:
        raise FileNotFoundError(
            'An exported model is compared with torch on real images, but there are '
            "none. Name a folder of photographs: images='FOLDER'."
        )
    return [found[i] for i in even_indices(len(found), number)]


def read_real_images(
    inferencer: MultiLabelInferencer, sources: Sequence[Source]
) -> RealImages:
    """Read images by the test pipeline, and predict their labels by torch.

    Args:
        inferencer (MultiLabelInferencer): The model.
        sources (Sequence[Source]): N files.

    Returns:
        RealImages: What torch gives.

    Raises:
        ValueError: If an image cannot be read, or they have different sizes.
    """
    paths, inputs, scores = [], [], []
    for batch in inferencer.preprocess(sources, BATCH):
        for item in batch.items:
            if item.error is not None:
                raise ValueError(f'{item.source.name}: {item.error}')
        if len(batch.groups) > 1:
            raise ValueError(
                'The test pipeline leaves images in different sizes, but an exported '
                'model takes images of one size. Add Resize to the test pipeline.'
            )
        paths += [str(item.source.image) for item in batch.items]
        for _, data in batch.groups:
            samples = inferencer.forward(dict(data))
            scores += [sample.pred_score for sample in samples]
            inputs.append(to_inputs(inferencer, data))
    if len({value.shape[1:] for value in inputs}) > 1:
        raise ValueError(
            'The test pipeline leaves images in different sizes, but an exported '
            'model takes images of one size. Add Resize to the test pipeline.'
        )
    return RealImages(paths, torch.cat(inputs), torch.stack(scores))


def to_inputs(inferencer: MultiLabelInferencer, data: dict) -> Tensor:
    """What the model takes for a batch of the pipeline, ``(B, C, H, W)``."""
    processed = inferencer.model.data_preprocessor(dict(data), False)
    return processed['inputs'].contiguous().float().cpu()


def check_preparation(info: ModelInfo, images: RealImages) -> None:
    """Check that images are prepared in the same way without torch.

    Args:
        info (ModelInfo): How to prepare them.
        images (RealImages): Images that were prepared.

    Raises:
        ValueError: If a value differs.
    """
    for path, expected in zip(images.paths, images.inputs):
        prepared = info.prepare(read_image(path, info.max_pixels))
        difference = float(np.abs(prepared - expected.numpy()).max())
        if not difference <= 1e-5:
            raise ValueError(
                f'{path} is prepared in another way without torch: values differ by '
                f'{difference:.2g}. Report it, with the test pipeline of the config.'
            )


def batches(images: RealImages, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of ``size`` images and their scores; the last one may be smaller."""
    yield from zip(images.inputs.split(size), images.scores.split(size))
