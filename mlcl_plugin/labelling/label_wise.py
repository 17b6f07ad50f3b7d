# SPDX-License-Identifier: Apache-2.0
"""Votes of neighbours in the space of label-wise embeddings, out of fold."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from ..datasets.forms import ImageLabels
from ..engine import base_config, build_split, freeze_backbone, iterate_images
from ..engine.runner.feature_training import FeatureTraining
from ..fit.backbone import Backbone
from ..fit.console import Console
from ..fit.make_config import make_config, write_tables
from ..fit.options import FitOptions
from ..fit.recipe import choose_recipe
from ..fit.split_data import Parts
from ..fit.training import FitRunner
from ..inference import build_model
from ..models.classifiers import NeighbourClassifier

HEAD, LABEL, IMAGE = 'head', 'label', 'image'
MEMBERS = (
    dict(type='LabelNeighbours'),
    dict(type='ImageNeighbours'),
)
WEIGHTS = (0.2, 0.5, 0.3)
"""Of the head and of both memories in a blend; no scores of it are used here."""
VALIDATION = ('val_cfg', 'val_dataloader', 'val_evaluator')
"""Fields of a config that are None where nothing is validated."""


class Stored(NamedTuple):
    """Features of images, and the backbone that made them.

    ``folder`` has ``train.npy``, random views, and ``tune.npy``, the view of the test.
    """

    folder: Path
    backbone: nn.Module


class FoldRunner(FitRunner):
    """A :class:`FitRunner` on features that are there.

    Args:
        cfg (Config): The config.
        console (Console): Where progress is written.
        stored (Stored): The features of these images.
    """

    def __init__(self, cfg: Config, console: Console, stored: Stored):
        super().__init__(cfg, console)
        self.stored = stored

    def feature_training(self) -> FeatureTraining:
        """A training on the features of this runner."""
        stored = (str(self.stored.folder), self.stored.backbone)
        return FeatureTraining(self.cfg, stored)


def take_images(
    source: Path, folder: Path, labels: ImageLabels, rows: dict[str, np.ndarray]
) -> None:
    """Make a folder of features of some images, with labels of its own.

    Args:
        source (Path): The folder of the features of all images.
        folder (Path): The folder to make. Its files of features are links.
        labels (ImageLabels): The labels of all images, in the order of the features.
        rows (dict[str, np.ndarray]): The images of ``train`` and ``val``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in (('train', 'train'), ('tune', 'tune'), ('val', 'tune')):
        link = folder / f'{name}.npy'
        link.unlink(missing_ok=True)
        os.symlink((source / f'{file}.npy').absolute(), link)
        own = rows['val' if name == 'val' else 'train']
        targets = labels.targets[own].toarray()
        records = [
            dict(
                img_path=labels.images[row],
                gt_score=target.tolist(),
                feature_index=int(row),
                test_features='val.npy' if name == 'val' else 'tune.npy',
            )
            for row, target in zip(own.tolist(), targets)
        ]
        content = dict(metainfo=dict(classes=list(labels.classes)), data_list=records)
        (folder / f'{name}.json').write_text(json.dumps(content))


def train_fold(
    stored: Stored,
    labels: ImageLabels,
    rows: dict[str, np.ndarray],
    options: FitOptions,
    backbone: Backbone,
    console: Console,
) -> dict[str, np.ndarray]:
    """Train the recipe of ``mlcl fit`` on some images, and score others.

    Args:
        stored (Stored): The features of all images.
        labels (ImageLabels): Their labels.
        rows (dict[str, np.ndarray]): The images to train on, ``train``, and to score,
            ``val``.
        options (FitOptions): Options of the fit; ``out`` is its folder. A training that
            is there is continued.
        backbone (Backbone): The backbone that made the features.
        console (Console): Where progress is written.

    Returns:
        dict[str, np.ndarray]: Probabilities ``(V, L)`` of the head, and by neighbours
        in the spaces of label-wise embeddings and of whole images; NaN is no vote.
    """
    features = options.out / 'features'
    take_images(stored.folder, features, labels, rows)
    images = {name: labels.take(own.tolist()) for name, own in rows.items()}
    parts = Parts(Path(), images, True)
    recipe = choose_recipe(options, parts)
    tables = write_tables(parts, options.out)
    cfg = make_config(options, parts, recipe, backbone, tables)
    cfg.model.neighbours = [dict(member) for member in MEMBERS]
    cfg.model.weights = list(WEIGHTS)
    training = Config(cfg.to_dict())
    for field in VALIDATION:
        training[field] = None
    work_dir = Path(cfg.work_dir)
    last = work_dir / 'step2' / 'neighbours.pth'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if not last.is_file():
            training.resume = work_dir.is_dir()
            FoldRunner(training, console, stored._replace(folder=features)).train()
        return _score(cfg, features, last, recipe.device)


@torch.no_grad()
def _score(
    cfg: Config, features: Path, checkpoint: Path, device: str
) -> dict[str, np.ndarray]:
    own = freeze_backbone(base_config(cfg), features)
    model = cast(
        NeighbourClassifier,
        build_model(Config(own.to_dict()), str(checkpoint), device),
    )
    dataset = build_split(own, 'val')
    found: dict[str, list] = {HEAD: [], LABEL: [], IMAGE: []}
    for inputs, _, _ in iterate_images(model, own, dataset, list(range(len(dataset)))):
        logits, votes = model.members(inputs)
        found[HEAD].append(logits.float().sigmoid())
        for name, vote in zip((LABEL, IMAGE), votes):
            found[name].append(vote.present.exp())
    return {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}


def rows_of_folds(fold: np.ndarray) -> Sequence[dict[str, np.ndarray]]:
    """The images to train on and those to score, of each fold."""
    return [
        dict(train=np.flatnonzero(fold != number), val=np.flatnonzero(fold == number))
        for number in range(int(fold.max()) + 1)
    ]
