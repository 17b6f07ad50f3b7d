# SPDX-License-Identifier: Apache-2.0
"""All views of an image that the features of a backbone are computed for."""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset, Compose
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from ..counter_seeds import VIEWS, set_seed
from ..steps import innermost_dataset


class Views(NamedTuple):
    """Which views of an image to make.

    Attributes:
        pipeline (list[dict]): The pipeline that makes one view.
        number (int): How often to draw from it.
    """

    pipeline: list[dict]
    number: int = 1


class ViewDataset(Dataset):
    """Images with all their views, each image read once.

    Random numbers of a view depend on the seed, its number and the image alone, so that
    workers, processes and interruptions change nothing.

    Args:
        dataset (ConfigDict): The config of the images. Wrappers that repeat or change
            them, and ``indices``, are left out.
        views (Mapping[str, Views]): The views by the name of their split.
        seed (int): The seed.
    """

    def __init__(self, dataset: ConfigDict, views: Mapping[str, Views], seed: int):
        config = copy.deepcopy(innermost_dataset(dataset))
        config.pop('indices', None)
        self.dataset: BaseDataset = DATASETS.build(config)
        self.seed = seed
        self._numbers = {name: item.number for name, item in views.items()}
        self._pipelines: dict[str, list] = {
            name: Compose(item.pipeline).transforms for name, item in views.items()
        }

    @property
    def names(self) -> list[str]:
        """list[str]: The names of the splits."""
        return list(self._numbers)

    @property
    def metainfo(self) -> dict:
        """dict: Meta information of the dataset."""
        return self.dataset.metainfo

    def info(self, index: int) -> dict:
        """Annotation of an image."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, dict[str, list[torch.Tensor]]]:
        """The index of an image, and its views by the name of their split."""
        info = self.info(index)
        read: dict[str, dict] = {}
        made = {}
        for name, transforms in self._pipelines.items():
            loading = isinstance(transforms[0], LoadImageFromFile)
            start, key = info, ''
            if loading:
                key = repr(transforms[0])
                if key not in read:
                    read[key] = _apply(transforms[:1], copy.deepcopy(info), info)
                start = read[key]
            views = []
            for view in range(self._numbers[name]):
                set_seed(VIEWS, self.seed, view, index)
                results = _apply(transforms[loading:], copy.deepcopy(start), info)
                views.append(_inputs(results))
            made[name] = views
        return index, made


def _apply(transforms: Sequence, results: dict, info: dict) -> dict:
    for transform in transforms:
        results = transform(results)
        if results is None:
            raise ValueError(
                f'There are no features of {info.get("img_path")}: '
                f'{type(transform).__name__} of the pipeline gives no image. Features '
                'need every image: repair it or take it out of the annotation, and '
                "do not set ignore_empty=True or unreadable='skip'."
            )
    return results


def _inputs(results: dict) -> torch.Tensor:
    inputs = results.get('inputs')
    if not isinstance(inputs, torch.Tensor):
        raise ValueError(
            'Features are computed view by view, from a pipeline that gives a tensor '
            f'as inputs, got {type(inputs).__name__}. Let it end with PackInputs, and '
            'make several views by MultiView or SharedMultiView only.'
        )
    return inputs


def collate_views(
    items: list[tuple[int, dict[str, list[torch.Tensor]]]],
) -> tuple[np.ndarray, dict[str, list[torch.Tensor]]]:
    """Join images into a batch: their indices, and a tensor for each view."""
    indices = np.array([index for index, _ in items])
    first = items[0][1]
    joined = {
        name: [
            torch.stack([views[name][view] for _, views in items])
            for view in range(len(first[name]))
        ]
        for name in first
    }
    return indices, joined


def start_worker(_: int) -> None:
    """Let a worker of a dataloader use one thread."""
    cv2.setNumThreads(0)
