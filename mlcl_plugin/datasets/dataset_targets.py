# SPDX-License-Identifier: Apache-2.0
"""The targets of all images of a dataset."""

import numpy as np
from mmengine.dataset import BaseDataset
from scipy.sparse import csr_array

from .transforms.labels_to_targets import LabelsToTargets


def dataset_targets(dataset: BaseDataset) -> csr_array:
    """Read the targets of a dataset.

    Args:
        dataset (BaseDataset): A dataset that knows its classes.

    Returns:
        csr_array: ``(N, L)`` int8: 1 present, 0 absent, -1 unknown, in the dataset's
        order.

    Raises:
        ValueError: If the dataset does not know its classes, or an item has no or
            malformed labels.
    """
    classes = dataset.metainfo.get('classes')
    if not classes:
        raise ValueError('The annotation does not name its classes.')
    to_targets = LabelsToTargets(len(classes))
    columns, values, ends = [], [], [0]
    for row in range(len(dataset)):
        targets = np.asarray(to_targets(dataset.get_data_info(row))['gt_score'])
        found = np.flatnonzero(targets)
        columns.append(found)
        values.append(targets[found].astype(np.int8))
        ends.append(ends[-1] + len(found))
    return csr_array(
        (
            np.concatenate([np.zeros(0, np.int8), *values]),
            np.concatenate([np.zeros(0, np.int64), *columns]),
            ends,
        ),
        shape=(len(dataset), len(classes)),
    )
