# SPDX-License-Identifier: Apache-2.0
"""The JSON of MMPretrain's ``MultiLabelDataset``.

Images with unknown labels have a ``gt_score`` of 1, 0 and -1 in addition to
``gt_label``.
"""

from pathlib import Path
from typing import Any

import msgspec
from mmpretrain.datasets import MultiLabelDataset

from ...targets import PRESENT, UNKNOWN
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels


class MMPretrainForm(Form):
    """MMPretrain's JSON."""

    name = 'mmpretrain'
    looks = "MMPretrain's JSON (keys 'metainfo', 'data_list')"
    suffix = '.json'

    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a JSON file has MMPretrain's keys."""
        return keys is not None and keys >= {'metainfo', 'data_list'}

    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read all images."""
        try:
            dataset = MultiLabelDataset(ann_file=str(path), serialize_data=False)
            labels = ImageLabels.from_dataset(dataset)
        # MMPretrain raises several classes, some about Python rather than the file.
        except (
            AssertionError,
            AttributeError,
            KeyError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(
                f"{path} is not as MMPretrain's MultiLabelDataset expects it, "
                '{"metainfo": {"classes": [NAME, ...]}, "data_list": [{"img_path": '
                f'PATH, "gt_label": [INDEX, ...]}}, ...]}}: {error}'
            ) from error
        # Passed to the dataset, other classes would only rename the file's labels.
        return labels if options.classes is None else labels.select(options.classes)

    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Make the JSON."""
        files = [(path, _content(labels))]
        return lambda: files

    def dataset_config(self, path: str, options: WriteOptions) -> dict:
        """The config of a ``MultiLabelDataset``."""
        return dict(
            type='MultiLabelDataset',
            ann_file=path,
            data_prefix=dict(img_path=options.image_folder),
        )


def _content(labels: ImageLabels) -> bytes:
    data_list = []
    for row, image in enumerate(labels.images):
        item: dict[str, Any] = dict(
            img_path=image, gt_label=labels.labels_of(row, PRESENT)
        )
        if labels.labels_of(row, UNKNOWN):
            item['gt_score'] = labels.targets[[row]].toarray().ravel().tolist()
        data_list.append(item)
    metainfo = dict(dataset_type='MultiLabelDataset', classes=list(labels.classes))
    return msgspec.json.encode(dict(metainfo=metainfo, data_list=data_list))
