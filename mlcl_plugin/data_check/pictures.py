# SPDX-License-Identifier: Apache-2.0
"""Pictures of a split: label counts, labels present together, a sheet of samples."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from ..visualization.dataset_figures import (
    cooccurrence_matrix,
    label_histogram,
    pair_sheet,
    sample_sheet,
)
from .near_duplicates import NearPair
from .split_report import SplitReport

THUMBNAIL = 256


def save_pictures(
    split: SplitReport, folder: Path, max_labels: int = 40, samples: int = 24
) -> list[str]:
    """Draw a split and save the pictures as PNG files.

    Args:
        split (SplitReport): The split.
        folder (Path): The folder to write to.
        max_labels (int): Largest number of labels in a picture. Defaults to 40.
        samples (int): Number of images on the sheet of samples. Defaults to 24.

    Returns:
        list[str]: The names of the files.
    """
    files = []
    for kind, figure in draw_split(split, max_labels, samples).items():
        files.append(f'{kind}_{split.name.replace("/", "_")}.png')
        with warnings.catch_warnings():
            # Fonts lack some scripts; the report has the whole names.
            warnings.filterwarnings('ignore', message='Glyph .* missing')
            figure.savefig(folder / files[-1])
    return files


def draw_split(
    split: SplitReport, max_labels: int = 40, samples: int = 24
) -> dict[str, Figure]:
    """Draw a split.

    Args:
        split (SplitReport): The split.
        max_labels (int): Largest number of labels in a picture, the most frequent ones.
            Defaults to 40.
        samples (int): Number of images on the sheet of samples, taken at equal
            distances. Defaults to 24.

    Returns:
        dict[str, Figure]: 'labels', 'cooccurrence' and, where there are images,
        'samples'.
    """
    name = ', '.join(split.names)
    figures = {
        'labels': label_histogram(
            split.present,
            split.unknown,
            split.labels_per_image,
            split.classes,
            f'{name}: labels of {split.num_images:,} images',
            max_labels,
        ),
        'cooccurrence': cooccurrence_matrix(
            split.cooccurrence,
            [split.classes[i] for i in split.top],
            f'{name}: labels present together',
            len(split.classes),
            max_labels,
        ),
    }
    number = min(samples, split.num_images)
    chosen = np.linspace(0, split.num_images, number, endpoint=False).astype(int)
    images = [thumbnail(split.images.picture(int(i))) for i in chosen]
    # Data sets of vectors have no images.
    if any(image is not None for image in images):
        figures['samples'] = sample_sheet(
            images,
            [split.images.targets(int(i)) for i in chosen],
            [Path(split.images.path(int(i))).name for i in chosen],
            split.classes,
            f'{name}: {number} of {split.num_images:,} images, with the labels present '
            'and, after a ?, unknown',
        )
    return figures


def save_near_duplicates(
    splits: Sequence[SplitReport],
    pairs: Sequence[NearPair],
    folder: Path,
    most: int = 24,
) -> list[str]:
    """Draw near duplicates side by side, and save the picture as a PNG file.

    Without pairs, a picture of an earlier call is deleted.

    Args:
        splits (Sequence[SplitReport]): The splits that the pairs are about.
        pairs (Sequence[NearPair]): The pairs. Those across splits are drawn first.
        folder (Path): The folder to write to.
        most (int): Largest number of pairs drawn. Defaults to 24.

    Returns:
        list[str]: The name of the file; none without pairs.
    """
    name = 'near_duplicates.png'
    if not pairs:
        (folder / name).unlink(missing_ok=True)
        return []
    chosen = sorted(pairs, key=lambda pair: pair.splits[0] == pair.splits[1])[:most]
    images, names, notes = [], [], []
    for pair in chosen:
        owners = [splits[i] for i in pair.splits]
        sides = list(zip(owners, pair.images))
        (one, i), (two, j) = sides
        images.append(
            (thumbnail(one.images.picture(i)), thumbnail(two.images.picture(j)))
        )
        names.append((_name(one, i), _name(two, j)))
        mirror = ', mirrored' if pair.flipped else ''
        labels = ', different labels' if pair.labels_differ else ''
        notes.append(f'{pair.correlation:.2f}{mirror}{labels}')
    title = f'{len(chosen)} of {len(pairs):,} pairs of near duplicates'
    figure = pair_sheet(images, names, notes, title)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph .* missing')
        figure.savefig(folder / name)
    return [name]


def _name(split: SplitReport, image: int) -> str:
    return f'{split.name}: {Path(split.images.path(image)).name}'


def thumbnail(image: np.ndarray | None) -> np.ndarray | None:
    """Shrink an image to sides of at most :data:`THUMBNAIL` px; None stays None."""
    if image is None or max(image.shape) <= THUMBNAIL:
        return image
    scale = THUMBNAIL / max(image.shape[:2])
    size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
