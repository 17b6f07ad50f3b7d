# SPDX-License-Identifier: Apache-2.0
"""Divide image-level labels into parts, and name the parts' files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..grouped_split import grouped_split
from ..stratified_split import StratifiedSplit, stratified_split
from .form import Form
from .image_labels import ImageLabels


def divide(
    labels: ImageLabels,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[dict[str, ImageLabels], StratifiedSplit]:
    """Divide images for training, validation and test by iterative stratification.

    Args:
        labels (ImageLabels): The images.
        val (float, optional): The share of the images for validation, between 0 and 1.
            Defaults to None: no such part.
        test (float, optional): The share for test. Defaults to None: no such part.
        seed (int): Seed of the division. Defaults to 0.
        groups (Sequence[str], optional): The group of each image. The images of a group
            come into the same part. Defaults to None: each image is one of its own.

    Returns:
        tuple[dict[str, ImageLabels], StratifiedSplit]: 'train', and 'val' and 'test'
        where asked for, and how well the parts match.

    Raises:
        ImportError: If the package of iterative stratification is missing.
        ValueError: If a share is out of range, the shares leave nothing for training,
            or there are too few images or groups.
    """
    shares = {}
    for name, share in (('val', val), ('test', test)):
        if share is None:
            continue
        # NaN fails this, too.
        if not 0 < share < 1:
            raise ValueError(f'Expected a share between 0 and 1, got {name}={share}.')
        shares[name] = share
    shares = {'train': 1 - sum(shares.values()), **shares}
    if groups is None:
        split = stratified_split(labels.targets, labels.classes, shares, seed)
    else:
        split = grouped_split(labels.targets, labels.classes, shares, groups, seed)
    parts = {name: labels.take(images.tolist()) for name, images in split.parts.items()}
    return parts, split


def part_paths(target: str, form: Form, parts: Iterable[str]) -> dict[str, str]:
    """Name the file or folder of each part.

    Args:
        target (str): The file or folder that was asked for.
        form (Form): Its form.
        parts (Iterable[str]): Names of the parts.

    Returns:
        dict[str, str]: The path of each part. Parts share a folder, in which the split
        has the name of the part; files are ``<stem>_<part><suffix>``.
    """
    if form.is_folder:
        return dict.fromkeys(parts, target)
    path = Path(target)
    return {
        name: str(path.with_name(f'{path.stem}_{name}{path.suffix}')) for name in parts
    }
