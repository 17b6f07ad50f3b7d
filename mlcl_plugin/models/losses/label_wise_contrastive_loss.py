# SPDX-License-Identifier: Apache-2.0
"""The label-level contrastive loss of MulCon."""

import math
from numbers import Real

import torch
from mmengine.dist import is_distributed
from mmpretrain.registry import MODELS
from torch import nn

from ..utils.gather import RaggedGather, scale_gradient
from .pairwise_logsumexp import BLOCK_SIZE, pairwise_logsumexp


def label_wise_contrastive_loss(
    embeddings: torch.Tensor,
    labels: torch.Tensor,
    temperature: float = 0.2,
    negatives: torch.Tensor | None = None,
    memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    across_processes: bool = False,
    block_size: int = BLOCK_SIZE,
) -> torch.Tensor:
    r"""Pull embeddings of one label together, push those of others apart.

    For the set :math:`I` of the N active embeddings, with :math:`P(i)` those
    of the same label as :math:`i` other than :math:`i` itself:

    .. math::
        \mathcal{L} = \frac{1}{N} \sum_{i \in I} \frac{-1}{|P(i)|}
        \sum_{p \in P(i)} \log \frac{\exp(z_i \cdot z_p / \tau)}
        {\sum_{a \in I \setminus \{i\}} \exp(z_i \cdot z_a / \tau)}

    An anchor without another embedding of its label adds 0 to the sum and
    still counts in N. ``negatives`` join the denominators only. Embeddings in
    ``memory`` join the denominators and, where their label is the anchor's, the
    positives; they are no anchors and do not count in N (`XBM
    <https://arxiv.org/abs/1912.06798>`_).

    Source: `MulCon <https://arxiv.org/abs/2107.11626>`_, the label-level
    contrastive loss. No matrix of positive pairs is needed, since the positives of
    an anchor are those of its label: with :math:`S_c` the sum of the :math:`n_c`
    embeddings of label :math:`c`, the numerators of its anchors sum to
    :math:`(\|S_c\|^2 - \sum_{i \in c} \|z_i\|^2) / (n_c - 1)`. The denominators are
    summed in blocks, see :func:`pairwise_logsumexp`, so that memory is
    O(N x ``block_size``).

    With ``across_processes`` the set :math:`I` is that of all processes of the run,
    as the method has it. Every process gets the loss of the whole set and computes
    the share of its own embeddings in pairs and gradient. Gradients are multiplied by
    the number of processes P, since DDP averages them: after DDP they are those of
    one process that has the joined batch. Sent by each process in a step, with n its
    number of embeddings (the largest of all processes): 4 n (D + 1) + 8 n + 8 bytes in
    the forward pass (embeddings, log-sum-exps, labels, numbers), nothing in the
    backward pass.

    Computed in float32 under any autocast (float64 stays float64).

    Args:
        embeddings (Tensor): ``(N, D)``, unit vectors, one for every label
            present in an image or view.
        labels (Tensor): ``(N,)`` int64, not negative, the label of each embedding.
        temperature (float): :math:`\tau > 0`. Defaults to 0.2.
        negatives (Tensor, optional): ``(M, D)`` further unit vectors for all
            denominators. Defaults to None.
        memory (tuple[Tensor, Tensor], optional): ``(K, D)`` embeddings of earlier
            batches, without gradient, and their labels ``(K,)``, the same in all
            processes. Defaults to None.
        across_processes (bool): Contrast the embeddings of all processes. All of
            them must call the function, also without an embedding. Of no effect in
            a single process. Defaults to False.
        block_size (int): Embeddings in a block of pairs. Defaults to 1024.

    Returns:
        Tensor: A scalar; 0 with a live graph where no anchor has a positive.

    Raises:
        ValueError: If the temperature is not a positive number, the shapes
            disagree or a label is negative.
    """
    check_temperature(temperature)
    _check_shapes(embeddings, labels, negatives, memory)
    if block_size < 1:
        raise ValueError(f'block_size must be positive, got {block_size}.')
    with torch.autocast(embeddings.device.type, enabled=False):
        z = _at_least_float32(embeddings)
        rows = z
        # Negatives are rows without a label.
        row_labels = labels
        if negatives is not None:
            rows = torch.cat([z, negatives.to(z.dtype)])
            row_labels = torch.cat([labels, labels.new_full((len(negatives),), -1)])
        keys, key_labels = memory or (z.new_zeros(0, z.size(1)), labels[:0])
        keys = keys.detach().to(z.dtype)
        gather = None
        remote, remote_labels = z.new_zeros(0, z.size(1)), labels[:0]
        if across_processes and is_distributed():
            gather = RaggedGather(len(rows), rows.device)
            remote, remote_labels = gather(rows), gather(row_labels)

        classes = _Classes(row_labels, remote_labels, key_labels)
        if classes.num_anchors == 0:
            # The graph stays whole for DDP.
            return rows.sum() * 0
        loss = pairwise_logsumexp(
            rows,
            classes.weights(0, z.dtype),
            temperature,
            keys=keys if len(keys) else None,
            remote=remote if gather else None,
            remote_weights=classes.weights(1, z.dtype) if gather else None,
            exchange=gather,
            block_size=block_size,
        )
        loss = loss - classes.pull(rows, remote, keys) / temperature
        return scale_gradient(loss, gather.world_size if gather else 1)


class _Classes:
    """Who is a positive of whom, told by the sizes of the classes.

    Args:
        *groups (Tensor): The labels ``(N,)`` of this process, of the others and of
            the memory. -1 stands for no label.
    """

    def __init__(self, *groups: torch.Tensor):
        labels = torch.cat(groups)
        values, index = labels.unique(return_inverse=True)
        self.known = values >= 0
        self.index = index.split([len(group) for group in groups])
        rows, remote, keys = (
            torch.zeros_like(values).index_add_(0, i, torch.ones_like(i))
            for i in self.index
        )
        self.num_anchors = int((rows + remote)[self.known].sum())
        self.num_positives = (rows + remote - 1 + keys).where(self.known, 0)
        # Also of labels that only the memory holds, which have no anchor.
        self.active = (self.num_positives > 0) & (rows + remote > 0)

    def weights(self, group: int, dtype: torch.dtype) -> torch.Tensor:
        """What the log-sum-exp of each row counts in the loss."""
        return (self.active.to(dtype) / self.num_anchors)[self.index[group]]

    def pull(
        self, rows: torch.Tensor, remote: torch.Tensor, keys: torch.Tensor
    ) -> torch.Tensor:
        """Mean over anchors of their mean similarity to their positives."""
        sums = self._sum(0, rows) + self._sum(1, remote)
        own = self._sum(0, rows.square().sum(1)) + self._sum(1, remote.square().sum(1))
        pairs = (sums * (sums + self._sum(2, keys))).sum(dim=1) - own
        means = pairs / self.num_positives.clamp(min=1)
        return means.where(self.active, 0).sum() / self.num_anchors

    def _sum(self, group: int, values: torch.Tensor) -> torch.Tensor | float:
        """Sum a group's values by label."""
        if len(values) == 0:
            return 0.0
        sums = values.new_zeros(len(self.known), *values.shape[1:])
        return sums.index_add(0, self.index[group], values)


def check_temperature(temperature: float) -> None:
    """Raise a ``ValueError`` unless ``temperature`` is positive and finite."""
    number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ValueError(
            f'temperature must be a positive, finite number, got {temperature!r}.'
        )


def _check_shapes(embeddings, labels, negatives, memory) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            'Expected embeddings (N, D) and labels (N,), got '
            f'{tuple(embeddings.shape)} and {tuple(labels.shape)}.'
        )
    if len(labels) and labels.min() < 0:
        raise ValueError(
            f'labels must not be negative, got {int(labels.min())}. Select the '
            'embeddings of labels that are present (target 1).'
        )
    width = embeddings.size(1)
    if negatives is not None and (negatives.ndim != 2 or negatives.size(1) != width):
        raise ValueError(
            f'Expected negatives (M, {width}), as wide as the embeddings, got '
            f'{tuple(negatives.shape)}.'
        )
    if memory is not None:
        keys, key_labels = memory
        if (
            keys.ndim != 2
            or keys.size(1) != width
            or key_labels.shape != keys.shape[:1]
        ):
            raise ValueError(
                f'Expected a memory of (K, {width}), as wide as the embeddings, and '
                f'(K,) labels, got {tuple(keys.shape)} and {tuple(key_labels.shape)}.'
            )


def _at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


@MODELS.register_module()
class LabelWiseContrastiveLoss(nn.Module):
    """MulCon's label-level contrastive loss, see
    :func:`label_wise_contrastive_loss`.

    Args:
        temperature (float): Divisor of the cosines, > 0. Defaults to 0.2.
        loss_weight (float): Weight of the loss (gamma in the paper).
            Defaults to 0.5.
        across_processes (bool): Contrast the embeddings of all processes of a run,
            as the method has it, or those of each process by themselves. Defaults to
            True.
        memory (dict, optional): Config of a memory of embeddings of earlier batches
            (:class:`EmbeddingMemory`), which serve as further positives and
            negatives. Defaults to None.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is
            negative.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        loss_weight: float = 0.5,
        across_processes: bool = True,
        memory: dict | None = None,
    ):
        super().__init__()
        check_temperature(temperature)
        if not 0 <= loss_weight < math.inf:
            raise ValueError(
                f'loss_weight must be finite and not negative, got {loss_weight}.'
            )
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.across_processes = across_processes
        self.memory = None if memory is None else MODELS.build(memory)

    def forward(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        negatives: torch.Tensor | None = None,
        keys: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Weighted loss of ``(N, D)`` embeddings with ``(N,)`` labels.

        Args:
            embeddings (Tensor): ``(N, D)`` unit vectors of present labels.
            labels (Tensor): ``(N,)`` their labels.
            negatives (Tensor, optional): ``(M, D)`` unit vectors that join the
                denominators only. Defaults to None.
            keys (Tensor, optional): ``(N, D)`` unit vectors of the same labels from
                a momentum encoder, to be remembered in place of ``embeddings``.
                Defaults to None.

        Returns:
            Tensor: A scalar.
        """
        memory = None if self.memory is None else self.memory.read()
        loss = label_wise_contrastive_loss(
            embeddings,
            labels,
            self.temperature,
            negatives,
            memory,
            self.across_processes,
        )
        if self.memory is not None and self.training:
            self.memory.write(embeddings if keys is None else keys, labels)
        return self.loss_weight * loss

    def extra_repr(self) -> str:
        return (
            f'temperature={self.temperature}, loss_weight={self.loss_weight}, '
            f'across_processes={self.across_processes}'
        )
