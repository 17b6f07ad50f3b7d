# SPDX-License-Identifier: Apache-2.0
"""COCO's ``instances_*.json``.

Each label of an image is an annotation marked ``image_level_only``, with a box around
the whole image where the images' sizes are known.
"""

from pathlib import Path
from typing import Any

import msgspec

from ...targets import PRESENT
from ..coco_multi_label import CocoMultiLabel
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels
from .image_sizes import Size, read_sizes

KEYS = {'images', 'annotations', 'categories'}


class CocoForm(Form):
    """COCO's JSON. It cannot hold unknown labels."""

    name = 'coco'
    looks = "COCO's JSON (keys 'images', 'annotations', 'categories')"
    suffix = '.json'

    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a JSON file has COCO's keys."""
        return keys is not None and keys >= KEYS

    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read all images, those without boxes too."""
        dataset = CocoMultiLabel(
            ann_file=str(path),
            keep_unlabelled=True,
            classes=options.classes,
            serialize_data=False,
        )
        return ImageLabels.from_dataset(dataset)

    def holds_unknown(self, options: WriteOptions) -> bool:
        """COCO has no way to say that a label is unknown."""
        return False

    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Make the JSON."""
        files = [(path, _content(labels, read_sizes(labels, options)))]
        return lambda: files

    def dataset_config(self, path: str, options: WriteOptions) -> dict:
        """The config of a ``CocoMultiLabel``."""
        return dict(
            type='CocoMultiLabel',
            ann_file=path,
            keep_unlabelled=True,
            data_prefix=dict(img_path=options.image_folder),
        )


def _content(labels: ImageLabels, sizes: list[Size] | None) -> bytes:
    images: list[dict] = []
    annotations: list[dict] = []
    for row, name in enumerate(labels.images):
        image: dict[str, Any] = dict(id=row + 1, file_name=name)
        box: dict[str, Any] = {}
        if sizes is not None:
            width, height = sizes[row]
            image |= dict(width=width, height=height)
            box = dict(bbox=[0, 0, width, height], area=width * height)
        images.append(image)
        for label in labels.labels_of(row, PRESENT):
            annotation = dict(
                id=len(annotations) + 1,
                image_id=row + 1,
                category_id=label + 1,
                iscrowd=0,
                image_level_only=1,
            )
            annotations.append(annotation | box)
    categories = [
        dict(id=label + 1, name=name) for label, name in enumerate(labels.classes)
    ]
    return msgspec.json.encode(
        dict(images=images, annotations=annotations, categories=categories)
    )
