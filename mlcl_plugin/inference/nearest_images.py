# SPDX-License-Identifier: Apache-2.0
"""Which training images speak for a label of an image."""

from os import PathLike

import numpy as np
import torch

from ..engine import unwrap_model
from ..models import NeighbourClassifier
from ..models.neighbours import Neighbour
from .batching import read_batches
from .inferencer import MultiLabelInferencer
from .sources import select_sources


@torch.no_grad()
def nearest_images(
    inferencer: MultiLabelInferencer,
    image: str | PathLike | np.ndarray,
    label: str,
    number: int = 5,
    present: bool = True,
) -> list[list[Neighbour]]:
    """Find the training images that speak most for a label, or most against it.

    .. code-block:: python

        inferencer = MultiLabelInferencer('neighbours.py', 'neighbours.pth')
        for neighbour in nearest_images(inferencer, 'photo.jpg', 'dog')[0]:
            print(neighbour.image, neighbour.share)

    Args:
        inferencer (MultiLabelInferencer): Of a model with neighbours, see
            :func:`fit_neighbours`.
        image (str | PathLike | np.ndarray): One image, as the inferencer takes it.
        label (str): The name of the label.
        number (int): The greatest number of training images. Defaults to 5.
        present (bool): Images for the label (True) or against it (False).
            Defaults to True.

    Returns:
        list[list[Neighbour]]: For each memory of the model its images, by falling
        share of the votes.

    Raises:
        ValueError: If the model has no neighbours, there is no such label, or the
            image cannot be read.
    """
    model = unwrap_model(inferencer.model)
    if not isinstance(model, NeighbourClassifier):
        raise ValueError(
            f'The model is {type(model).__name__} and has no neighbours. Give it some '
            'with fit_neighbours, and use the config that it writes.'
        )
    if label not in inferencer.classes:
        raise ValueError(
            f'There is no label {label!r}, expected one of '
            f'{list(inferencer.classes)!r:.200}.'
        )
    sources = select_sources([image]).sources
    (batch,) = read_batches(inferencer.pipeline, sources)
    (item,) = batch.items
    if item.error is not None:
        raise ValueError(f'{item.source.name}: {item.error}')
    ((_, data),) = batch.groups
    inputs = model.data_preprocessor(data, False)['inputs']
    index = inferencer.classes.index(label)
    return model.explain(inputs, index, number, present)[0]
