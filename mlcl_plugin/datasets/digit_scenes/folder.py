# SPDX-License-Identifier: Apache-2.0
"""Write scenes of digits into a folder, and recognise those that are there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import cv2
import msgspec
import numpy as np

from .scenes import SPLITS, SceneOptions, make_scene, split_scans

NAMES = 'zero one two three four five six seven eight nine'.split()
# Part of the stored options. Raise it whenever the same options give other scenes, so
# that a folder of older scenes is not taken for the same.
VERSION = 1
DESCRIPTION = 'Scenes of handwritten digits from scikit-learn'
# All files of this module but the images begin like this.
BEGINNING = b'{"info":{"description":"%s"' % DESCRIPTION.encode()
MAX_IMAGES = 999_999


def split_info(split: str, num_images: int, options: SceneOptions) -> dict:
    """The 'info' of a split's annotation file, by which scenes are recognised.

    It says nothing about the other split, because a split does not depend on the number
    of images of the other one.
    """
    return {
        'description': DESCRIPTION,
        'version': VERSION,
        'split': split,
        'num_images': num_images,
        'options': asdict(options),
    }


def write_split(
    out_dir: str | Path, split: str, num_images: int, options: SceneOptions
) -> dict:
    """Make the scenes of one split and write images and annotations.

    Scene number i is the same however many there are.

    Args:
        out_dir (str | Path): The folder of the dataset.
        split (str): 'train' or 'val'.
        num_images (int): Number of scenes.
        options (SceneOptions): The kind of scenes.

    Returns:
        dict: The content of the annotation file. Besides COCO's fields each
        annotation has ``scan``, the number of the scan in scikit-learn.
    """
    out_dir = Path(out_dir)
    scans, labels, numbers = split_scans(options.val_fraction_of_scans, options.seed)[
        split
    ]
    (out_dir / split).mkdir(parents=True, exist_ok=True)
    (out_dir / 'annotations').mkdir(exist_ok=True)
    params = (
        [cv2.IMWRITE_JPEG_QUALITY, options.quality]
        if options.image_format == 'jpg'
        else []
    )
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id in range(1, num_images + 1):
        # A generator of its own for each scene, independent of all others.
        rng = np.random.default_rng([options.seed, SPLITS.index(split), image_id])
        image, digits = make_scene(rng, scans, labels, options)
        file_name = f'{image_id:06d}.{options.image_format}'
        encoded = cv2.imencode(f'.{options.image_format}', image, params)[1]
        (out_dir / split / file_name).write_bytes(encoded.tobytes())
        images.append(
            {
                'id': image_id,
                'file_name': file_name,
                'height': options.image_size,
                'width': options.image_size,
            }
        )
        for scan, box in digits:
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': int(labels[scan]) + 1,
                    'bbox': box,
                    'area': box[2] * box[3],
                    'iscrowd': 0,
                    'scan': int(numbers[scan]),
                }
            )
    content = {
        'info': split_info(split, num_images, options),
        'images': images,
        'annotations': annotations,
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(NAMES)],
    }
    # Written last: an annotation file means that the split is complete.
    _annotation_file(out_dir, split).write_bytes(msgspec.json.encode(content))
    return content


def _annotation_file(out_dir: Path, split: str) -> Path:
    return out_dir / 'annotations' / f'instances_{split}.json'


def _mark_file(out_dir: Path) -> Path:
    """A file that exists while scenes are being made."""
    return out_dir / 'annotations' / '.unfinished'


def _scene_files(out_dir: Path, split: str) -> list[Path]:
    """The images of a split: files whose name is a number."""
    folder = out_dir / split
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if re.fullmatch(r'\d{6}\.(png|jpg)', p.name)]


def holds_scenes(
    out_dir: str | Path, num_images: Mapping[str, int], options: SceneOptions
) -> bool:
    """Whether a folder holds complete scenes made with exactly these options.

    Args:
        out_dir (str | Path): The folder of the dataset.
        num_images (Mapping[str, int]): The number of scenes for 'train' and 'val'.
        options (SceneOptions): The kind of scenes.

    Returns:
        bool: True if annotations and images of both splits are there.
    """
    out_dir = Path(out_dir)
    for split in SPLITS:
        try:
            content = msgspec.json.decode(_annotation_file(out_dir, split).read_bytes())
            if content['info'] != split_info(split, num_images[split], options):
                return False
            expected = {image['file_name'] for image in content['images']}
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if {path.name for path in _scene_files(out_dir, split)} != expected:
            return False
    return True


def holds_unfinished_scenes(out_dir: str | Path) -> bool:
    """Whether a folder holds what an interrupted call left, and nothing else.

    Args:
        out_dir (str | Path): The folder of the dataset.

    Returns:
        bool: True if the mark of an unfinished call is there and all other files are
        annotation files or images that this module makes.
    """
    out_dir = Path(out_dir)
    mark = _mark_file(out_dir)
    if not mark.is_file() or not mark.read_bytes().startswith(BEGINNING):
        return False
    ours = {mark}
    for split in SPLITS:
        ours.update(_scene_files(out_dir, split))
        path = _annotation_file(out_dir, split)
        # An interrupted call may have left half of it.
        if path.is_file() and BEGINNING.startswith(path.read_bytes()[: len(BEGINNING)]):
            ours.add(path)
    return all(path in ours for path in out_dir.rglob('*') if path.is_file())


def remove_scenes(out_dir: str | Path) -> None:
    """Delete annotation files and images of earlier scenes, and nothing else."""
    out_dir = Path(out_dir)
    for split in SPLITS:
        _annotation_file(out_dir, split).unlink(missing_ok=True)
        for path in _scene_files(out_dir, split):
            path.unlink()


def find_scenes(
    out_dir: str | Path,
    num_images: Mapping[str, int],
    options: SceneOptions,
    force: bool = False,
) -> str:
    """Tell what a folder holds before scenes are written into it.

    Args:
        out_dir (str | Path): The folder of the dataset, which may not exist yet.
        num_images (Mapping[str, int]): The number of scenes for 'train' and 'val'.
        options (SceneOptions): The kind of scenes.
        force (bool): Whether to write into a folder that is not empty. Scenes there are
            replaced. Defaults to False.

    Returns:
        str: 'complete' if just these scenes are there, 'unfinished' if an interrupted
        call left some, 'free' otherwise.

    Raises:
        ValueError: If a number of scenes is out of range, ``out_dir`` is a file, or the
            folder is not empty and ``force`` is False.
    """
    for split, number in num_images.items():
        if not 1 <= number <= MAX_IMAGES:
            raise ValueError(
                f'Expected 1 to {MAX_IMAGES} scenes, got num_{split}={number}.'
            )
    out_dir = Path(out_dir)
    if out_dir.exists() and not out_dir.is_dir():
        raise ValueError(f'{out_dir} is a file, expected a folder to write to.')
    if force:
        return 'free'
    if holds_scenes(out_dir, num_images, options):
        _mark_file(out_dir).unlink(missing_ok=True)
        return 'complete'
    if holds_unfinished_scenes(out_dir):
        return 'unfinished'
    if any(path.is_file() for path in out_dir.rglob('*')):
        raise ValueError(
            f'{out_dir} is not empty and does not hold just these scenes. Choose '
            'another folder, or replace the scenes in it (force=True).'
        )
    return 'free'


def write_scenes(
    out_dir: str | Path, num_images: Mapping[str, int], options: SceneOptions
) -> Iterator[tuple[str, dict]]:
    """Write the scenes of both splits, replacing earlier scenes.

    Args:
        out_dir (str | Path): The folder of the dataset, see :func:`find_scenes`.
        num_images (Mapping[str, int]): The number of scenes for 'train' and 'val'.
        options (SceneOptions): The kind of scenes.

    Yields:
        tuple[str, dict]: Each split when it is written, and the content of its
        annotation file.

    Raises:
        ValueError: If the digits do not fit into the images. No scenes are left.
    """
    out_dir = Path(out_dir)
    # Before anything else, so that an interrupted call can be repeated.
    mark = _mark_file(out_dir)
    mark.parent.mkdir(parents=True, exist_ok=True)
    info = {
        'description': DESCRIPTION,
        'num_images': dict(num_images),
        'options': asdict(options),
    }
    mark.write_bytes(msgspec.json.encode({'info': info}))
    remove_scenes(out_dir)
    for split, number in num_images.items():
        try:
            content = write_split(out_dir, split, number, options)
        except ValueError:
            remove_scenes(out_dir)
            mark.unlink()
            raise
        yield split, content
    mark.unlink()
