# SPDX-License-Identifier: Apache-2.0
"""Take the embeddings that a model gives to labels, and measure them."""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mlcl_plugin.evaluation import (
    alignment,
    average_precision,
    retrieval_between_labels,
    retrieval_within_labels,
    uniformity,
)
from mlcl_plugin.models.utils import labels_per_group
from mlcl_plugin.models.utils.targets import collect_targets


def build_loader(cfg: Config, split: str, num_images: int) -> tuple[DataLoader, dict]:
    """A loader of a split's images, as the test pipeline shows them.

    Args:
        cfg (Config): The config, of one step.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        num_images (int): Number of images at most, taken at even distances.

    Returns:
        tuple[DataLoader, dict]: The loader, and the dataset's meta information.
    """
    config = copy.deepcopy(cfg[f'{split}_dataloader'].dataset)
    if split != 'test':
        inner = config
        while 'dataset' in inner:
            inner = inner.dataset
        test = cfg.test_dataloader.dataset
        while 'dataset' in test:
            test = test.dataset
        inner.pipeline = test.pipeline
    dataset = DATASETS.build(config)
    number = min(num_images, len(dataset))
    chosen = np.linspace(0, len(dataset), number, endpoint=False).astype(int)
    loader = dict(
        dataset=Subset(dataset, chosen.tolist()),
        batch_size=cfg.test_dataloader.get('batch_size', 1),
        num_workers=cfg.test_dataloader.get('num_workers', 0),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=cfg.test_dataloader.get('collate_fn', dict(type='default_collate')),
    )
    return Runner.build_dataloader(loader), dataset.metainfo


class Embeddings(NamedTuple):
    """Of N images and L labels, which may share their embeddings.

    ``values`` are ``(N, E, D)``, ``columns`` ``(L,)`` tell which of the E embeddings is
    a label's, ``targets`` are ``(N, L)``.
    """

    values: Tensor
    columns: Tensor
    targets: Tensor

    def of_label(self, label: int) -> Tensor:
        """Unit vectors ``(N, D)``."""
        return F.normalize(self.values[:, self.columns[label]], dim=1)

    def of_present(self) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors of the labels that are present, their labels and images."""
        images, labels = (self.targets == 1).nonzero(as_tuple=True)
        chosen = self.values[images, self.columns[labels]]
        return F.normalize(chosen, dim=1), labels, images


@torch.no_grad()
def embed(model: nn.Module, batches: Iterable[dict], projected: bool) -> Embeddings:
    """Compute the embeddings of all batches.

    Args:
        model (nn.Module): The model, in evaluation mode.
        batches (Iterable[dict]): What a dataloader gives.
        projected (bool): Whether to pass them through the head's projector.

    Returns:
        Embeddings: On the CPU, in float32.

    Raises:
        ValueError: If the head has no projector or does not tell its number of
            labels, or the features are neither one for every label or group of
            labels, nor one of the image.
    """
    head = getattr(model, 'head', None)
    num_classes = getattr(head, 'num_classes', None)
    if num_classes is None:
        raise ValueError(
            f'{type(model).__name__} has no head with num_classes, which says how many '
            'labels there are. Use the config of a multi-label classifier.'
        )
    num_queries = getattr(head, 'num_groups', None) or num_classes
    if projected and getattr(head, 'projector', None) is None:
        raise ValueError(
            f'--projected needs a head with a projector, got {type(head).__name__} '
            'without one. Use a model that is trained with a contrastive loss; in a '
            'config in steps, name the step (--step step2).'
        )
    values, targets = [], []
    for batch in batches:
        batch = model.data_preprocessor(batch, False)
        feats = model.extract_feat(batch['inputs'])
        feats = feats if isinstance(feats, Tensor) else feats[-1]
        if feats.ndim == 4:
            # of a head that pools the feature map itself
            feats = feats.flatten(2).mean(dim=2)
        if feats.ndim != 2 and (feats.ndim != 3 or feats.size(1) != num_queries):
            raise ValueError(
                f'Expected embeddings of labels (B, {num_queries}, D) or features of '
                f'images (B, C) or (B, C, H, W), got {tuple(feats.shape)} from '
                'backbone and neck.'
            )
        if feats.ndim == 2:
            feats = head.projector(feats) if projected else feats
            feats = feats[:, None]
        elif projected:
            pairs = torch.ones(len(feats), num_classes).nonzero().to(feats.device)
            feats = head.project(feats, *pairs.T).unflatten(0, (-1, num_classes))
        values.append(feats.float().cpu())
        targets.append(collect_targets(batch['data_samples'], num_classes, 'cpu'))
    values = torch.cat(values)
    number = values.size(1)
    columns = torch.arange(num_classes) // labels_per_group(num_classes, number)
    return Embeddings(values, columns, torch.cat(targets))


def linear_probe(embeddings: Tensor, targets: Tensor, train: Tensor) -> float:
    """AP of a logistic regression on one label's embeddings.

    Args:
        embeddings (Tensor): ``(N, D)``.
        targets (Tensor): ``(N,)``, 1 present, 0 absent, -1 unknown.
        train (Tensor): ``(N,)`` bool, the images to learn from; the others are scored.

    Returns:
        float: nan where the label is not both present and absent among the first, or
        not present among the others.
    """
    known = train & (targets >= 0)
    if len(targets[known].unique()) < 2:
        return math.nan
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError(
            'The linear probe needs scikit-learn: run `pip install scikit-learn`.'
        ) from error

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(embeddings[known].numpy(), targets[known].numpy())
    scores = model.decision_function(embeddings[~train].numpy())
    return _ap(torch.from_numpy(scores), targets[~train])


def few_shot(
    embeddings: Tensor,
    targets: Tensor,
    train: Tensor,
    shots: int,
    generator: torch.Generator,
) -> float:
    """AP of how much nearer embeddings lie to one centroid than to another.

    These are the means of ``shots`` embeddings of images where the label is present and
    of as many where it is absent, drawn at random; of two squared distances, the
    difference is what counts. The means are no unit vectors: those of images that have
    nothing in common are short, and what direction is left to them says nothing.

    Args:
        embeddings (Tensor): ``(N, D)`` unit vectors.
        targets (Tensor): ``(N,)``, 1 present, 0 absent, -1 unknown.
        train (Tensor): ``(N,)`` bool, the images to draw from; the others are scored.
        shots (int): Number of images of each kind.
        generator (torch.Generator): Draws.

    Returns:
        float: nan where there are too few to draw, or the label is not present among
        the others.
    """
    centroids = []
    for value in (1, 0):
        pool = (train & (targets == value)).nonzero()[:, 0]
        if len(pool) < shots:
            return math.nan
        drawn = pool[torch.randperm(len(pool), generator=generator)[:shots]]
        centroids.append(embeddings[drawn].mean(dim=0))
    # The difference of the squared distances, but for a factor and a constant.
    scores = embeddings[~train] @ (centroids[0] - centroids[1])
    return _ap(scores, targets[~train])


def _ap(scores: Tensor, targets: Tensor) -> float:
    return float(average_precision(scores[:, None], targets[:, None])[0])


def measure_embeddings(
    embeddings: Embeddings, shots: Sequence[int], repeats: int, seed: int
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """All figures, in percent but for alignment and uniformity.

    Args:
        embeddings (Embeddings): What to measure.
        shots (Sequence[int]): Numbers of shots.
        repeats (int): Draws of shots, to be averaged.
        seed (int): Seed of the split of the images into halves, and of the draws.

    Returns:
        tuple[dict, list[dict]]: Those of all labels, and those of each. The former are
        means of the latter over the labels that have the figure, where there is one of
        each label.
    """
    generator = torch.Generator().manual_seed(seed)
    number = len(embeddings.targets)
    train = torch.zeros(number, dtype=torch.bool)
    train[torch.randperm(number, generator=generator)[: number // 2]] = True
    images = torch.arange(number)
    zeros = torch.zeros_like(images)
    classwise = []
    # Label by label, since labels that share an embedding need not be held apart.
    for label, targets in enumerate(embeddings.targets.T):
        own = embeddings.of_label(label)
        within = retrieval_within_labels(own, zeros, images, targets)
        figures = {
            'within/P@1': within.precision_at_1,
            'within/mAP@R': within.mean_average_precision_at_r,
            'linear_probe/mAP': linear_probe(own, targets, train),
        }
        for k in shots:
            draws = [
                few_shot(own, targets, train, k, generator) for _ in range(repeats)
            ]
            figures[f'{k}-shot/mAP'] = sum(draws) / repeats
        classwise.append({key: 100 * value for key, value in figures.items()})
    present = embeddings.of_present()
    between = retrieval_between_labels(*present)
    overall = {
        'between/P@1': 100 * between.precision_at_1,
        'between/mAP@R': 100 * between.mean_average_precision_at_r,
        'alignment': alignment(*present),
        'uniformity': uniformity(present[0]),
    }
    for key in classwise[0]:
        values = torch.tensor([figures[key] for figures in classwise])
        overall[key] = values.nanmean().item()
    return overall, classwise
