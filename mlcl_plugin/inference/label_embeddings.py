# SPDX-License-Identifier: Apache-2.0
"""The embeddings that a model gives to labels."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..label_names import dataset_labels
from ..models.heads import ContrastiveHead, LabelWiseClsHead
from ..models.utils import collect_targets, labels_per_group
from ..targets import is_present
from .label_names import check_model_labels
from .model_parts import head_of


class Embeddings(NamedTuple):
    """Embeddings of N images and L labels, some of which may share one.

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
        images, labels = is_present(self.targets).nonzero(as_tuple=True)
        chosen = self.values[images, self.columns[labels]]
        return F.normalize(chosen, dim=1), labels, images


@torch.no_grad()
def embed(
    model: BaseModel,
    batches: Iterable[dict],
    projected: bool,
    allow_other_labels: bool = False,
) -> Embeddings:
    """Compute the embeddings of all batches.

    Args:
        model (BaseModel): The classifier, in evaluation mode.
        batches (Iterable[dict]): A dataloader, or what it gives. The labels of a
            dataloader's dataset are compared with those of the model's checkpoint.
        projected (bool): Whether to pass them through the head's projector.
        allow_other_labels (bool): Whether they may differ, with a warning. Defaults to
            False.

    Returns:
        Embeddings: On the CPU, in float32.

    Raises:
        OtherLabelsError: If the dataset has other labels than the checkpoint.
        ValueError: If the head has no projector or does not tell its number of
            labels, or the features are neither one per label or group of labels, nor
            one per image.
    """
    if isinstance(batches, DataLoader):
        names = dataset_labels(batches.dataset)
        check_model_labels(model, names, 'the data set', allow_other_labels)
    reader = EmbeddingReader(model, projected)
    values, targets = [], []
    for batch in batches:
        batch = model.data_preprocessor(batch, False)
        values.append(reader.read(model.extract_feat(batch['inputs'])).cpu())
        targets.append(
            collect_targets(batch['data_samples'], reader.num_classes, 'cpu')
        )
    stacked = torch.cat(values)
    return Embeddings(stacked, reader.columns(stacked.size(1)), torch.cat(targets))


class EmbeddingReader:
    """Takes the embeddings of labels out of what backbone and neck give.

    Args:
        model (BaseModel): The classifier.
        projected (bool): Whether to pass them through the head's projector.

    Raises:
        ValueError: If the head has no projector or does not tell its number of
            labels.
    """

    def __init__(self, model: BaseModel, projected: bool = False):
        head = head_of(model)
        # Not all heads of MMPretrain keep the number: CSRAClsHead does not.
        num_classes = getattr(head, 'num_classes', None)
        if num_classes is None:
            raise ValueError(
                f'{type(model).__name__} has no head with num_classes, which says how '
                'many labels there are. Use the config of a multi-label classifier.'
            )
        self.num_classes: int = num_classes
        self.label_wise = head if isinstance(head, LabelWiseClsHead) else None
        self.num_queries = num_classes
        if self.label_wise is not None and self.label_wise.num_groups is not None:
            self.num_queries = self.label_wise.num_groups
        self.projector = _projector_of(head) if projected else None

    def read(self, feats: Tensor | Sequence[Tensor]) -> Tensor:
        """Embeddings ``(B, E, D)`` in float32; E is 1 where labels share one.

        Raises:
            ValueError: If the features are neither one per label or group of labels,
                nor one per image.
        """
        found = feats if isinstance(feats, Tensor) else feats[-1]
        if found.ndim == 4:
            # The head itself pools the feature map.
            found = found.flatten(2).mean(dim=2)
        if found.ndim != 2 and (found.ndim != 3 or found.size(1) != self.num_queries):
            raise ValueError(
                f'Expected embeddings of labels (B, {self.num_queries}, D) or features '
                f'of images (B, C) or (B, C, H, W), got {tuple(found.shape)} from '
                'backbone and neck.'
            )
        if found.ndim == 2:
            found = found if self.projector is None else self.projector(found)
            found = found[:, None]
        elif self.projector is not None and self.label_wise is not None:
            number = self.num_classes
            pairs = torch.ones(len(found), number).nonzero().to(found.device)
            found = self.label_wise.project(found, *pairs.T).unflatten(0, (-1, number))
        return found.float()

    def columns(self, num_embeddings: int) -> Tensor:
        """``(L,)``, which of the embeddings is that of a label."""
        group_size = labels_per_group(self.num_classes, num_embeddings)
        return torch.arange(self.num_classes) // group_size


def _projector_of(head: nn.Module | None) -> nn.Module:
    """The projector of a head with contrast."""
    projector = None
    if isinstance(head, ContrastiveHead):
        projector = head.projector
    if projector is None:
        raise ValueError(
            'projected=True needs a head with a projector, got '
            f'{type(head).__name__} without one. Use a model that is trained with a '
            'contrastive loss; in a config with steps, name the step that trains with '
            "it (step='step2')."
        )
    return projector
