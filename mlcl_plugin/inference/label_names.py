# SPDX-License-Identifier: Apache-2.0
"""The names of a model's labels."""

import copy
from collections.abc import Mapping, Sequence

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import DATASETS
from torch import nn

from ..label_names import check_labels, labels_of_meta
from .config import config_of_test_dataset, config_scope


def read_dataset_meta(meta: dict) -> dict:
    """Read what the meta of a checkpoint of MMPretrain or mmcls says of the dataset."""
    if 'dataset_meta' in meta:
        dataset = meta['dataset_meta']
        return dict(dataset) if isinstance(dataset, Mapping) else {}
    return {'classes': meta['CLASSES']} if meta.get('CLASSES') else {}


def labels_of_model(model: nn.Module) -> tuple[str, ...] | None:
    """The names in the checkpoint that a model was loaded from, if it has any."""
    # MMPretrain's get_model sets it if it loads a checkpoint, and so do we.
    return labels_of_meta(dict(dataset_meta=getattr(model, '_dataset_meta', None)))


def check_model_labels(
    model: nn.Module,
    classes: Sequence[str] | None,
    source: str,
    allow: bool = False,
) -> None:
    """Compare labels with those of the checkpoint that a model was loaded from.

    Args:
        model (nn.Module): The model.
        classes (Sequence[str], optional): The names, in the order of the scores. None
            if they are not known.
        source (str): Where they come from, for the text.
        allow (bool): Warn of a difference instead. Defaults to False.

    Raises:
        OtherLabelsError: If both are known and differ.
    """
    expected = labels_of_model(model)
    if expected is None or classes is None:
        who = 'the checkpoint' if expected is None else source
        print_log(
            f'The labels of the checkpoint and {source} cannot be compared: {who} does '
            'not name them.',
            'current',
        )
        return
    check_labels(expected, classes, source, 'the checkpoint', allow)


def find_classes(
    model: BaseModel,
    head: MultiLabelClsHead,
    cfg: Config,
    classes: Sequence[str] | str | None = None,
    allow_other_labels: bool = False,
) -> tuple[str, ...]:
    """Find the names of a model's labels, in the order of its scores.

    Args:
        model (BaseModel): The model.
        head (MultiLabelClsHead): Its head.
        cfg (Config): Its config.
        classes (Sequence[str] | str, optional): The names, or ``'numbers'`` for 0, 1,
            2, ... None takes those in the checkpoint or else those of the config's test
            dataset. Defaults to None.
        allow_other_labels (bool): Whether names that are given may differ from those in
            the checkpoint, with a warning. Defaults to False.

    Returns:
        tuple[str, ...]: L names.

    Raises:
        OtherLabelsError: If the names that are given are not those in the checkpoint.
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
    given = classes is not None
    if classes is None:
        classes = labels_of_model(model)
    if classes is None:
        classes = _classes_of_test_dataset(cfg)
    names = tuple(classes)
    if number is not None and len(names) != number:
        raise ValueError(
            f'Got {len(names)} names of labels, but the model has {number}: '
            f'{list(names)!r:.200}. Pass the right ones as classes.'
        )
    if given:
        check_model_labels(model, names, 'classes', allow_other_labels)
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
