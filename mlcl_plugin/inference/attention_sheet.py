# SPDX-License-Identifier: Apache-2.0
"""What a sheet of label attention shows: images, scores, attention, targets."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel

from ..engine import build_split
from ..models.utils import collect_targets
from ..visualization import label_attention_maps
from .label_names import check_model_labels
from .pixels import to_sides_of_photograph, to_view
from .split_images import even_indices


class AttendedImages(NamedTuple):
    """N images with scores ``(N, L)``, attention and targets ``(N, L)``.

    Each of ``images`` is ``(H, W, 3)`` uint8, RGB; each of ``maps`` is
    ``(heads, L, h, w)``. ``total`` is the number of images in the dataset.
    """

    images: list[np.ndarray]
    scores: torch.Tensor
    maps: list[torch.Tensor]
    targets: torch.Tensor
    classes: tuple[str, ...]
    total: int


def attend(
    model: BaseModel,
    cfg: Config,
    split: str,
    num_images: int,
    allow_other_labels: bool = False,
) -> AttendedImages:
    """Compute scores and label attention of images of a split.

    Args:
        model (BaseModel): A classifier with attention, in evaluation mode, see
            :func:`label_attention_maps`.
        cfg (Config): Its config.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        num_images (int): The greatest number of images, taken at even distances.
        allow_other_labels (bool): Whether the dataset may have other labels than the
            checkpoint of the model, with a warning. Defaults to False.

    Returns:
        AttendedImages: What :func:`prediction_sheet` draws; tensors on the CPU.

    Raises:
        OtherLabelsError: If the dataset has other labels than the checkpoint.
        ValueError: If the model has no attention.
    """
    dataset = build_split(cfg, split)
    check_model_labels(
        model, dataset.metainfo.get('classes'), 'the data set', allow_other_labels
    )
    items = (dataset[index] for index in even_indices(len(dataset), num_images))
    return attend_items(model, items, dataset.metainfo.get('classes'), len(dataset))


def attend_items(
    model: BaseModel,
    items: Iterable[dict],
    classes: Sequence[str] | None,
    total: int,
) -> AttendedImages:
    """Compute scores and label attention of items of a dataset.

    Args:
        model (BaseModel): A classifier with attention, see
            :func:`label_attention_maps`.
        items (Iterable[dict]): At least one; ``inputs`` ``(C, H, W)`` and
            ``data_samples``, as ``PackInputs`` gives them.
        classes (Sequence[str], optional): Names of the labels; None numbers them.
        total (int): The number of images in the dataset.

    Returns:
        AttendedImages: What :func:`prediction_sheet` draws; tensors on the CPU.

    Raises:
        ValueError: If the model has no attention.
    """
    bgr = bool(model.data_preprocessor.to_rgb)
    images, scores, maps, targets = [], [], [], []
    # One by one, since a pipeline may give images of different sizes.
    for item in items:
        view = to_view(item['inputs'], bgr)
        meta = item['data_samples'].metainfo
        images.append(to_sides_of_photograph(view, meta))
        data = model.data_preprocessor(pseudo_collate([item]))
        score, attention = label_attention_maps(model, data['inputs'])
        scores.append(score[0].cpu())
        maps.append(attention[0].cpu())
        targets.append(collect_targets(data['data_samples'], len(score[0]), 'cpu')[0])
    return AttendedImages(
        images,
        torch.stack(scores),
        maps,
        torch.stack(targets),
        tuple(classes or map(str, range(len(scores[0])))),
        total,
    )
