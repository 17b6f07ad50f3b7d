# SPDX-License-Identifier: Apache-2.0
"""The answers of ``mlcl infer``: a line of JSON per image, which this form reads."""

import logging
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mmengine.logging import print_log
from scipy.sparse import csr_array

from ...plain_text import brief, list_some
from ...targets import PRESENT
from ..annotation_files import check_classes
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels


class Label(msgspec.Struct):
    """A label that was found."""

    label: str


class Line(msgspec.Struct):
    """What was found in an image, or why it could not be read."""

    image: str
    labels: list[Label] | None = None
    error: Any = None


class AnswersForm(Form):
    """Answers of ``mlcl infer``. This form can be read but not written."""

    name = 'answers'
    looks = 'answers of mlcl infer (a name that ends with .jsonl)'
    suffix = '.jsonl'

    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a path has the suffix ``.jsonl``."""
        return path.suffix.lower() == '.jsonl'

    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read all images that were read; labels that were not found are absent."""
        decoder = msgspec.json.Decoder(Line)
        images, labels, unread = [], [], 0
        with path.open('rb') as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    answer = decoder.decode(line)
                except (msgspec.DecodeError, RecursionError) as error:
                    text = brief(line.decode(errors='replace'))
                    raise ValueError(
                        f'{path}, line {number} is {text}, expected an answer of mlcl '
                        f'infer: {error}'
                    ) from error
                if answer.labels is None:
                    unread += 1
                    continue
                images.append(answer.image)
                labels.append({item.label for item in answer.labels})
        if unread:
            print_log(
                f'{path}: {unread:,} images that could not be read are left out.',
                logger='current',
                level=logging.WARNING,
            )
        found = sorted(set().union(*labels))
        classes = tuple(found) if options.classes is None else options.classes
        classes = check_classes(classes) if classes else ()
        others = sorted(set(found).difference(classes))
        if others:
            raise ValueError(
                f'{path} has the labels {list_some(others)}, expected some of the '
                f'classes {list_some(classes)}.'
            )
        rows = [[name in present for name in classes] for present in labels]
        targets = np.array(rows, dtype=np.int8).reshape(len(images), len(classes))
        return ImageLabels(tuple(classes), tuple(images), csr_array(targets * PRESENT))

    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Refuse: answers come from a model."""
        raise ValueError(
            f"Answers of mlcl infer ('{path}') can only be read. Choose another form."
        )

    def dataset_config(self, path: str, options: WriteOptions) -> dict | None:
        """None, as nothing is written."""
        return None
