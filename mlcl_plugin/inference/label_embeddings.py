# SPDX-License-Identifier: Apache-2.0
"""The embeddings that a model gives to labels."""

from collections.abc import Iterable
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
    head = head_of(model)
    # Not all heads of MMPretrain keep the number: CSRAClsHead does not.
    num_classes = getattr(head, 'num_classes', None)
    if num_classes is None:
        raise ValueError(
            f'{type(model).__name__} has no head with num_classes, which says how many '
            'labels there are. Use the config of a multi-label classifier.'
        )
    label_wise = head if isinstance(head, LabelWiseClsHead) else None
    num_queries = num_classes
    if label_wise is not None and label_wise.num_groups is not None:
        num_queries = label_wise.num_groups
    projector = _projector_of(head) if projected else None
    values, targets = [], []
    for batch in batches:
        batch = model.data_preprocessor(batch, False)
        feats = model.extract_feat(batch['inputs'])
        feats = feats if isinstance(feats, Tensor) else feats[-1]
        if feats.ndim == 4:
            # The head itself pools the feature map.
            feats = feats.flatten(2).mean(dim=2)
        if feats.ndim != 2 and (feats.ndim != 3 or feats.size(1) != num_queries):
            raise ValueError(
                f'Expected embeddings of labels (B, {num_queries}, D) or features of '
                f'images (B, C) or (B, C, H, W), got {tuple(feats.shape)} from '
                'backbone and neck.'
            )
        if feats.ndim == 2:
            feats = feats if projector is None else projector(feats)
            feats = feats[:, None]
        elif projector is not None and label_wise is not None:
            pairs = torch.ones(len(feats), num_classes).nonzero().to(feats.device)
            feats = label_wise.project(feats, *pairs.T).unflatten(0, (-1, num_classes))
        values.append(feats.float().cpu())
        targets.append(collect_targets(batch['data_samples'], num_classes, 'cpu'))
    stacked = torch.cat(values)
    group_size = labels_per_group(num_classes, stacked.size(1))
    columns = torch.arange(num_classes) // group_size
    return Embeddings(stacked, columns, torch.cat(targets))


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
