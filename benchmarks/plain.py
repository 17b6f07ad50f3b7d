# SPDX-License-Identifier: Apache-2.0
"""The method written as its formulas, to compare ours with."""

import torch
import torch.nn.functional as F
from torch import nn

from mlcl_plugin.models import LabelAttentionNeck, LabelWiseClsHead
from mlcl_plugin.models.utils import MultiheadAttentionBlock, collect_targets


def mask_form_loss(
    embeddings: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The contrastive loss with matrices of all pairs.

    The usual form: a mask of pairs with equal labels, a matrix of log-probabilities,
    and their average over the mask.

    Args:
        embeddings (Tensor): ``(N, D)`` unit vectors.
        labels (Tensor): ``(N,)`` their labels.
        temperature (float): The divisor of the cosines.

    Returns:
        Tensor: A scalar.
    """
    other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None]) & other
    logits = embeddings @ embeddings.T / temperature
    logits = logits - logits.amax(dim=1, keepdim=True).detach()
    log_sum = (logits.exp() * other).sum(dim=1, keepdim=True).log()
    pull = (positive * (logits - log_sum)).sum(dim=1)
    return -(pull / positive.sum(dim=1).clamp(min=1)).mean()


def attend(
    block: MultiheadAttentionBlock, queries: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Compute a multihead attention block that forms the matrix of weights.

    Args:
        block (MultiheadAttentionBlock): The block with the weights.
        queries (Tensor): ``(B, Tq, D)``.
        tokens (Tensor): ``(B, Tk, C)``.

    Returns:
        Tensor: ``(B, Tq, D)``.
    """

    def split_heads(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (block.num_heads, -1)).transpose(1, 2)

    query = block.query_proj(queries)
    q, k, v = map(
        split_heads, (query, block.key_proj(tokens), block.value_proj(tokens))
    )
    weights = (q @ k.transpose(-2, -1) / block.embed_dims**0.5).softmax(dim=-1)
    out = block.norm0(query + (weights @ v).transpose(1, 2).flatten(2))
    return block.norm1(out + F.relu(block.out_proj(out)))


def neck_forward(neck: LabelAttentionNeck, feats: torch.Tensor) -> torch.Tensor:
    """Compute the neck with :func:`attend`.

    Args:
        neck (LabelAttentionNeck): The neck with the weights.
        feats (Tensor): ``(B, C, H, W)``.

    Returns:
        Tensor: ``(B, L, D)``.
    """
    tokens = feats.flatten(2).transpose(1, 2)
    for block in neck.blocks_before:
        tokens = attend(block, tokens, tokens)
    queries = neck.queries.expand(len(tokens), -1, -1)
    embeddings = attend(neck.label_attention, queries, tokens)
    for block in neck.blocks_after:
        embeddings = attend(block, embeddings, embeddings)
    return embeddings


class LinearUnits(nn.ModuleList):
    """One ``nn.Linear`` per label, called in a loop.

    Args:
        head (LabelWiseClsHead): The head whose weights are copied.
    """

    def __init__(self, head: LabelWiseClsHead):
        super().__init__(
            nn.Linear(head.in_channels, 1, device=head.classifier.weight.device)
            for _ in range(head.num_classes)
        )
        with torch.no_grad():
            for unit, weight, bias in zip(
                self, head.classifier.weight, head.classifier.bias
            ):
                unit.weight.copy_(weight[None])
                unit.bias.copy_(bias[None])

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Map ``(B, L, D)`` to logits ``(B, L)``."""
        return torch.cat([unit(embeddings[:, i]) for i, unit in enumerate(self)], dim=1)


def head_losses(
    head: LabelWiseClsHead,
    units: LinearUnits,
    embeddings: torch.Tensor,
    data_samples: list,
) -> dict[str, torch.Tensor]:
    """Compute the losses with a loop over labels and the projections of all labels.

    Args:
        head (LabelWiseClsHead): The head with the projector and the options.
        units (LinearUnits): The classifiers.
        embeddings (Tensor): ``(B, L, D)``.
        data_samples (list[DataSample]): Their labels.

    Returns:
        dict[str, Tensor]: The losses of the head.
    """
    logits = units(embeddings).float()
    targets = collect_targets(data_samples, head.num_classes, logits.device)
    contrast = head.contrastive_module
    projections = head.projector(embeddings)
    images, labels = (targets == 1).nonzero(as_tuple=True)
    return dict(
        loss_cls=F.binary_cross_entropy_with_logits(logits, targets),
        loss_contrastive=contrast.loss_weight
        * mask_form_loss(projections[images, labels], labels, contrast.temperature),
    )
