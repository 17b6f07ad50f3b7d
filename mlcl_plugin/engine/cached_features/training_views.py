# SPDX-License-Identifier: Apache-2.0
"""The views of an image that a training pipeline makes."""

from collections.abc import Sequence
from typing import NamedTuple


class TrainingViews(NamedTuple):
    """The views of a training pipeline.

    Attributes:
        pipeline (list[dict], optional): The pipeline of one view. None if the views are
            made by different transforms.
        number (int, optional): The number of views of an image, which come as a list.
            None for one view that is not in a list.
    """

    pipeline: list[dict] | None
    number: int | None = None


def training_views(pipeline: Sequence[dict]) -> TrainingViews:
    """Read the views of a pipeline, also inside ``MultiView`` or ``SharedMultiView``.

    Args:
        pipeline (Sequence[dict]): The configs of the transforms.

    Returns:
        TrainingViews: Its views.

    Examples:
        >>> flip, pack = dict(type='RandomFlip'), dict(type='PackInputs')
        >>> views = dict(type='MultiView', transforms=[[flip]], num_views=[2])
        >>> training_views([views, pack]) == ([flip, pack], 2)
        True
        >>> training_views([flip, pack]) == ([flip, pack], None)
        True
    """
    single: list[dict] = []
    total = None
    for transform in pipeline:
        if 'transforms' not in transform or 'num_views' not in transform:
            single.append(transform)
            continue
        several, numbers = transform['transforms'], transform['num_views']
        total = numbers if isinstance(numbers, int) else sum(numbers)
        if any(item != several[0] for item in several):
            return TrainingViews(None, total)
        single += several[0]
    return TrainingViews(single, total)
