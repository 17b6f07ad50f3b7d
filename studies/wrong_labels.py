# SPDX-License-Identifier: Apache-2.0
"""Flip labels on purpose, of targets and of stored features."""

import json
import os
from pathlib import Path

import numpy as np

KINDS = ('symmetric', 'missing')
UNKNOWN_KEY = 'gt_label_difficult'


def flip(targets: np.ndarray, kind: str, rate: float, seed: int) -> np.ndarray:
    """Flip a share of the labels.

    Args:
        targets (np.ndarray): ``(N, L)``.
        kind (str): ``'symmetric'`` flips a share of all known entries, ``'missing'``
            makes a share of the present ones absent.
        rate (float): The share.
        seed (int): Seed of the choice.

    Returns:
        np.ndarray: ``(N, L)``; unknown entries stay.
    """
    able = targets == 1 if kind == 'missing' else targets >= 0
    places = np.flatnonzero(able)
    rng = np.random.default_rng([seed, int(1000 * rate), KINDS.index(kind)])
    chosen = rng.choice(places, round(rate * len(places)), replace=False)
    flipped = targets.copy()
    flipped.flat[chosen] = 1 - flipped.flat[chosen]
    return flipped


def read_targets(content: dict) -> np.ndarray:
    """Read the targets of stored features.

    Args:
        content (dict): ``train.json`` of a folder of features of VOC photographs.

    Returns:
        np.ndarray: ``(N, L)``, 1 present, 0 absent, -1 unknown.
    """
    classes, records = content['metainfo']['classes'], content['data_list']
    targets = np.zeros((len(records), len(classes)), np.int8)
    for row, record in enumerate(records):
        targets[row, record.get(UNKNOWN_KEY, [])] = -1
        targets[row, record['gt_label']] = 1
    return targets


def with_wrong_labels(features: Path, kind: str, rate: float, seed: int) -> Path:
    """Make a folder of the same features, in which training labels are flipped.

    Args:
        features (Path): The folder of the features.
        kind (str): See :func:`flip`.
        rate (float): See :func:`flip`.
        seed (int): See :func:`flip`.

    Returns:
        Path: A folder beside it. Feature files are shared, labels of validation kept.
    """
    folder = features.with_name(f'{features.name}_{kind}_{rate:g}_{seed}')
    folder.mkdir(exist_ok=True)
    for path in features.iterdir():
        if path.suffix == '.npy' and not (folder / path.name).exists():
            os.link(path, folder / path.name)
        elif path.suffix == '.json' and path.stem != 'train':
            (folder / path.name).write_bytes(path.read_bytes())
    content = json.loads((features / 'train.json').read_text())
    flipped = flip(read_targets(content), kind, rate, seed)
    for record, target in zip(content['data_list'], flipped, strict=True):
        record['gt_label'] = np.flatnonzero(target == 1).tolist()
        record[UNKNOWN_KEY] = np.flatnonzero(target == -1).tolist()
    content['settings'] = [content['settings'], kind, rate, seed]
    (folder / 'train.json').write_text(json.dumps(content))
    return folder
