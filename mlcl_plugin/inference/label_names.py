# SPDX-License-Identifier: Apache-2.0
"""The names of a model's labels."""

import copy
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import DATASETS

from .config import config_of_test_dataset, config_scope


def read_dataset_meta(meta: dict) -> dict:
    """Read what the meta of a checkpoint of MMPretrain or mmcls says of the dataset."""
    if 'dataset_meta' in meta:
        return meta['dataset_meta'] or {}
    return {'classes': meta['CLASSES']} if meta.get('CLASSES') else {}


def find_classes(
    model: BaseModel,
    head: MultiLabelClsHead,
    cfg: Config,
    classes: Sequence[str] | str | None = None,
) -> tuple[str, ...]:
    """Find the names of a model's labels, in the order of its scores.

    Args:
        model (BaseModel): The model.
        head (MultiLabelClsHead): Its head.
        cfg (Config): Its config.
        classes (Sequence[str] | str, optional): The names, or ``'numbers'`` for 0, 1,
            2, ... None takes those in the checkpoint or else those of the config's test
            dataset. Defaults to None.

    Returns:
        tuple[str, ...]: L names.

    Raises:
        ValueError: If the names are not known, or are not as many as the model's
            labels.
    """
    # Not all heads of MMPretrain keep the number: CSRAClsHead does not.
    number = getattr(head, 'num_classes', None)
    number = number or cfg.model.get('head', {}).get('num_classes')
    if isinstance(classes, str):
        if classes != 'numbers':
            raise ValueError(
                f"classes must be a list of names or 'numbers', got '{classes}'."
            )
        if number is None:
            raise ValueError(
                f'{type(head).__name__} does not tell its number of labels: pass '
                'their names as classes.'
            )
        return tuple(map(str, range(number)))
    if classes is None:
        # MMPretrain's get_model sets it if it loads a checkpoint.
        classes = (getattr(model, '_dataset_meta', None) or {}).get('classes')
    if classes is None:
        classes = _classes_of_test_dataset(cfg)
    names = tuple(classes)
    if number is not None and len(names) != number:
        raise ValueError(
            f'Got {len(names)} names of labels, but the model has {number}: '
            f'{list(names)!r:.200}. Pass the right ones as classes.'
        )
    return names


def _classes_of_test_dataset(cfg: Config) -> Sequence[str]:
    """Names of the labels of a config's test dataset.

    Raises:
        ValueError: If the dataset does not tell them.
    """
    dataset, reason = config_of_test_dataset(cfg), 'the config has no test dataset'
    given = (dataset.get('metainfo') or {}).get('classes') or dataset.get('classes')
    if isinstance(given, list | tuple):
        return given
    if dataset:
        try:
            with config_scope(cfg):
                kind = DATASETS.get(dataset['type'])
                # The registry may hold any callable, also one without METAINFO.
                classes = getattr(kind, 'METAINFO', {}).get('classes')
                if given is not None or classes is None:
                    # The dataset may read its classes from a file.
                    built = DATASETS.build(copy.deepcopy(dataset))
                    classes = built.metainfo.get('classes')
            if classes is not None:
                return classes
            reason = 'the test dataset of the config has none'
        # Reading an annotation file may raise anything.
        except Exception as error:
            reason = f'the test dataset of the config cannot be read ({error})'
    raise ValueError(
        'The names of the labels are not known: the checkpoint holds none, and '
        f"{reason}. Pass classes=[...], or classes='numbers' to number them."
    )
