# SPDX-License-Identifier: Apache-2.0
"""Give a trained model the memories of its training images."""

import copy
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple, cast

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.logging import print_log
from mmpretrain.registry import MODELS
from torch import nn

from ..engine import (
    base_config,
    build_split,
    check_checkpoint,
    fill_neighbours,
    innermost_dataset,
    iterate_images,
    save_filled,
)
from ..engine.split_dataset import chosen_images, pipeline_of_test
from ..evaluation.blend_weights import choose_weights
from ..label_names import dataset_labels
from ..models import LabelWiseClsHead, NeighbourClassifier, NeighbourVoteLoss
from ..models.utils import collect_targets
from .build_model import load_model
from .config import config_scope
from .label_names import check_model_labels

# Fields of classifiers that only training needs.
TRAINING_FIELDS = {'ImageClassifier': (), 'MomentumClassifier': ('momentum',)}


class Fitted(NamedTuple):
    """The files of a model with neighbours, and the weights of its blend.

    ``chosen_on`` is the number of images that the weights were chosen on, 0 for given
    weights, and ``scores`` are the mAP of the members and of the blend on them.
    """

    checkpoint: Path
    config: Path
    weights: tuple[float, ...]
    chosen_on: int = 0
    scores: tuple[float, ...] = ()


def find_neighbours(cfg: Config) -> list[dict]:
    """Find the memories that the model of a config gets.

    Args:
        cfg (Config): The config of a classifier.

    Returns:
        list[dict]: Copies of the configs that the model has; without any, one
        :class:`LabelNeighbours` for a head with embeddings of labels, else one
        :class:`ImageNeighbours`. For a head that is trained by
        :class:`NeighbourVoteLoss`, with its temperature and what it compares.

    Raises:
        ValueError: If the model has no head.
    """
    model = cfg.get('model') or {}
    if model.get('neighbours'):
        return [dict(item) for item in model['neighbours']]
    if not model.get('head'):
        raise ValueError(
            'Neighbours need a classifier with a head, but '
            f'{cfg.filename or "the config"} has no model.head.'
        )
    with config_scope(cfg):
        head = MODELS.get(model['head']['type'])
        if not isinstance(head, type) or not issubclass(head, LabelWiseClsHead):
            return [dict(type='ImageNeighbours')]
        contrast = model['head'].get('loss_contrastive')
        if contrast is not None and not isinstance(contrast, nn.Module):
            contrast = MODELS.build(contrast)
    if isinstance(contrast, NeighbourVoteLoss):
        return [
            dict(
                type='LabelNeighbours',
                source='projections',
                temperature=contrast.temperature,
            )
        ]
    return [dict(type='LabelNeighbours')]


def neighbour_config(
    cfg: Config,
    neighbours: Sequence[dict] | None = None,
    weights: Sequence[float] | None = None,
) -> Config:
    """Turn the config of a classifier into that of a :class:`NeighbourClassifier`.

    Args:
        cfg (Config): A config without steps, or with steps, which are left out.
        neighbours (Sequence[dict], optional): Configs of the memories. None takes those
            of :func:`find_neighbours`.
        weights (Sequence[float], optional): Weights of the logits and of each memory.
            None keeps those of the config, if its memories are of the same kinds, or
            takes the defaults of :class:`NeighbourClassifier`.

    Returns:
        Config: A new config.

    Raises:
        ValueError: If the model is another kind of classifier.
    """
    cfg = base_config(cfg)
    model: ConfigDict = cfg.get('model') or ConfigDict()
    kind = str(model.get('type')).split('.')[-1]
    if neighbours is None:
        neighbours = find_neighbours(cfg)
    if kind == 'NeighbourClassifier':
        before = [item['type'] for item in find_neighbours(cfg)]
        if before != [item['type'] for item in neighbours]:
            model.pop('weights', None)
    elif kind in TRAINING_FIELDS:
        for field in TRAINING_FIELDS[kind]:
            model.pop(field, None)
        model.type = 'NeighbourClassifier'
    else:
        raise ValueError(
            'Neighbours join the scores of an ImageClassifier, got a config with '
            f'model.type={model.get("type")!r}.'
        )
    model.neighbours = [ConfigDict(item) for item in neighbours]
    if weights is not None:
        model.weights = tuple(weights)
    return cfg


def fit_neighbours(
    cfg: Config,
    checkpoint: str | PathLike,
    out: str | PathLike | None = None,
    neighbours: Sequence[dict] | None = None,
    weights: Sequence[float] | None = None,
    choose_on: str | None = None,
    device: str | None = None,
    allow_other_labels: bool = False,
) -> Fitted:
    """Fill the memories of a trained model, and write it with its config.

    The training images of the config pass the model by the test pipeline. The result is
    an ordinary checkpoint, with a config beside it, for tests and for
    :class:`MultiLabelInferencer`.

    Logits of training images are too good to choose the weights of the blend: they
    would get too much. So weights are given, or chosen on images that were not trained
    on. Images that a result is reported for must not choose either.

    Args:
        cfg (Config): The config that the model was trained with. Steps are left out;
            :func:`~mlcl_plugin.engine.step_config` gives the config of a step.
        checkpoint (str | PathLike): The trained weights.
        out (str | PathLike, optional): The checkpoint to write, ending with ``.pth``;
            the config has the same name with ``.py``. None writes
            ``NAME_neighbours.pth`` beside the checkpoint ``NAME.pth``.
        neighbours (Sequence[dict], optional): See :func:`neighbour_config`.
        weights (Sequence[float], optional): See :func:`neighbour_config`.
        choose_on (str, optional): Images to choose the weights on, by mAP:
            ``'held-out'``, those that ``train_dataloader.dataset.indices`` leaves out
            of training, or ``'val'``, those of ``val_dataloader``, if the test images
            are others. None does not choose. Defaults to None.
        device (str, optional): Where to run. None takes a GPU, if there is one.
        allow_other_labels (bool): Whether the images that are read may have other
            labels than the checkpoint, with a warning. Defaults to False.

    Returns:
        Fitted: What was written.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        OtherLabelsError: If the training images or those to choose on have other labels
            than the checkpoint.
        ValueError: If an option is wrong, the checkpoint does not fit, or there are no
            images to choose the weights on.
    """
    checkpoint = Path(check_checkpoint(str(checkpoint)))
    if out is None:
        out = checkpoint.with_name(f'{checkpoint.stem}_neighbours.pth')
    out = Path(out)
    if out.suffix != '.pth':
        raise ValueError(f"out must end with '.pth', got out={out}.")
    if out.resolve() == checkpoint.resolve():
        raise ValueError(f'out={out} is the checkpoint itself. Choose another name.')
    if weights is not None and choose_on is not None:
        raise ValueError('Give either weights or choose_on, got both.')
    cfg = neighbour_config(cfg, neighbours, weights)
    with config_scope(cfg):
        tuning = None
        # Before what takes long.
        pipeline_of_test(cfg)
        if choose_on is not None:
            tuning = _tuning_images(cfg, choose_on)
        # A checkpoint may have other memories, which are replaced.
        loaded, meta = load_model(cfg, str(checkpoint), optional=('neighbours.',))
        model = cast(NeighbourClassifier, loaded)
        train = build_split(cfg, 'train', repeated=False)
        read = [('the training images', train)]
        read += [] if tuning is None else [('the images to choose on', tuning.dataset)]
        for what, dataset in read:
            check_model_labels(model, dataset_labels(dataset), what, allow_other_labels)
        model.to(device or get_device()).eval()
        fill_neighbours(model, cfg, train)
        fitted = Fitted(out, out.with_suffix('.py'), model.weights)
        if tuning is not None:
            fitted = _choose(model, cfg, tuning, fitted)
    cfg.model.weights = fitted.weights
    meta = dict(meta, cfg=cfg.pretty_text)
    save_filled(model, str(out), meta)
    cfg.dump(fitted.config)
    return fitted


class _Images(NamedTuple):
    """Chosen images of a dataset."""

    dataset: BaseDataset
    indices: list[int]


def _tuning_images(cfg: Config, choose_on: str) -> _Images:
    """The images to choose weights on.

    Raises:
        ValueError: If there are none, or they are those of the test.
    """
    if choose_on == 'val':
        if cfg.get('val_dataloader') is None:
            raise ValueError("choose_on='val' needs a val_dataloader in the config.")
        if _images_of(cfg.val_dataloader) == _images_of(cfg.test_dataloader):
            raise ValueError(
                "choose_on='val': val_dataloader and test_dataloader have the same "
                'images, so that no test would be left. Leave some training images '
                'out of the training (train_dataloader.dataset.indices) and use '
                "choose_on='held-out', or give weights."
            )
        dataset = build_split(cfg, 'val')
        return _Images(dataset, list(range(len(dataset))))
    if choose_on != 'held-out':
        raise ValueError(f"choose_on must be 'held-out' or 'val', got {choose_on!r}.")
    whole = copy.deepcopy(cfg)
    inner = innermost_dataset(whole.train_dataloader.dataset)
    indices = inner.pop('indices', None)
    dataset = build_split(whole, 'train', repeated=False)
    trained = chosen_images(indices, len(dataset))
    held_out = sorted(set(range(len(dataset))) - set(trained))
    if not held_out:
        raise ValueError(
            "choose_on='held-out' takes the images that "
            'train_dataloader.dataset.indices leaves out of training, but it leaves '
            f'out none (indices={indices}). Train with, for example, indices='
            f'{len(dataset) * 9 // 10}, or give weights.'
        )
    return _Images(dataset, held_out)


def _images_of(loader: ConfigDict) -> dict:
    """The config of the images of a loader, however they are shown."""
    dataset = copy.deepcopy(loader.dataset)
    inner = innermost_dataset(dataset)
    for field in ('pipeline', 'test_mode', 'lazy_init', 'serialize_data'):
        inner.pop(field, None)
    return dataset


@torch.no_grad()
def _choose(
    model: NeighbourClassifier, cfg: Config, tuning: _Images, fitted: Fitted
) -> Fitted:
    """Choose the weights by the scores of images that were not trained on."""
    scores: list[list[torch.Tensor]] = [[] for _ in fitted.weights]
    targets = []
    for inputs, data_samples, _ in iterate_images(
        model, cfg, tuning.dataset, tuning.indices
    ):
        logits, votes = model.members(inputs)
        own = logits.float().sigmoid()
        scores[0].append(own.cpu())
        for place, vote in enumerate(votes, start=1):
            score = vote.present.exp().where(~vote.present.isnan(), own)
            scores[place].append(score.cpu())
        targets.append(collect_targets(data_samples, logits.shape[1], 'cpu'))
    joined = [torch.cat(parts) for parts in scores]
    known = torch.cat(targets)
    weights, blended = choose_weights(joined, known)
    alone = [choose_weights([score], known)[1] for score in joined]
    print_log(
        f'Weights {weights} chosen on {len(known):,} images that were not trained on: '
        f'mAP {100 * blended:.2f}; the members alone: '
        f'{", ".join(f"{100 * value:.2f}" for value in alone)}.',
        'current',
    )
    return fitted._replace(
        weights=weights, chosen_on=len(known), scores=(*alone, blended)
    )
