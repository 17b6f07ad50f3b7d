# SPDX-License-Identifier: Apache-2.0
"""The label-level contrastive loss of MulCon."""

import torch
from mmengine.dist import is_distributed
from mmpretrain.registry import MODELS
from torch.autograd.function import once_differentiable

from ..utils.gather import RaggedGather, scale_gradient
from .base import PresentLabelContrast, at_least_float32, check_temperature
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
        z = at_least_float32(embeddings)
        rows = z
        # Negatives are rows without a label.
        row_labels = labels
        if negatives is not None:
            rows = torch.cat([z, negatives.to(z.dtype)])
            row_labels = torch.cat([labels, labels.new_full((len(negatives),), -1)])
        keys = remote = gather = None
        groups = [row_labels]
        if across_processes and is_distributed():
            gather = RaggedGather(len(rows), rows.device)
            remote = gather(rows)
            groups.append(gather(row_labels))
        if memory is not None:
            keys = memory[0].detach().to(z.dtype)
            groups.append(memory[1])

        classes = _Classes(groups, memory is not None, z.dtype)
        if classes.num_anchors == 0:
            # A live graph, since DDP waits for gradients.
            return rows.sum() * 0
        loss = pairwise_logsumexp(
            rows,
            classes.weights(0),
            temperature,
            keys=keys if keys is not None and len(keys) else None,
            remote=remote,
            remote_weights=None if remote is None else classes.weights(1),
            exchange=gather,
            block_size=block_size,
        )
        others = [x for x in (remote, keys) if x is not None]
        loss = loss - classes.pull(rows, others) / temperature
        return scale_gradient(loss, gather.world_size if gather else 1)


class _Classes:
    """Weights of anchors and positives, from the sizes of the classes.

    Args:
        groups (list[Tensor]): The labels ``(N,)`` of this process, those of the
            others, if there are any, and those of the memory. -1 stands for no label.
        has_memory (bool): Whether the last group is a memory, which has no anchors.
        dtype (torch.dtype): Of the embeddings.
    """

    def __init__(
        self, groups: list[torch.Tensor], has_memory: bool, dtype: torch.dtype
    ):
        labels = torch.cat(groups) if len(groups) > 1 else groups[0]
        values, index = labels.unique(return_inverse=True)
        sizes = [len(group) for group in groups]
        self.index = index.split(sizes) if len(groups) > 1 else [index]
        self.has_memory = has_memory
        num_anchored = sum(sizes[: len(sizes) - has_memory])
        anchors = index[:num_anchored].bincount(minlength=len(values))
        self.num_anchors = int((labels[:num_anchored] >= 0).sum())
        positives = anchors - 1
        if has_memory:
            positives += self.index[-1].bincount(minlength=len(values))
        # A label that only the memory holds has no anchor.
        active = (positives > 0) & (anchors > 0) & (values >= 0)
        # Weights in the loss of an anchor, and of a pair of anchor and positive.
        self.anchor_weights = active.to(dtype) / max(self.num_anchors, 1)
        self.pair_weights = self.anchor_weights / positives.clamp(min=1)

    def weights(self, group: int) -> torch.Tensor:
        """Weights of the log-sum-exps of a group's rows in the loss."""
        return self.anchor_weights[self.index[group]]

    def pull(self, rows: torch.Tensor, others: list[torch.Tensor]) -> torch.Tensor:
        """Mean over anchors of their mean similarity to their positives.

        Args:
            rows (Tensor): ``(N, D)`` of this process.
            others (list[Tensor]): Of the other groups, without gradient.

        Returns:
            Tensor: A scalar, of which ``rows`` gets the gradient.
        """
        sums = rows.new_zeros(len(self.pair_weights), rows.size(1))
        other_sums = [
            sums.index_add(0, index, x) for index, x in zip(self.index[1:], others)
        ]
        remote = other_sums[: len(other_sums) - self.has_memory]
        memory = other_sums[-1] if self.has_memory else None
        # Similarities of remote rows to themselves; _Pull subtracts those of the rows.
        own = sum(
            (self.pair_weights[index] @ x.square().sum(dim=1))
            for index, x in zip(self.index[1:], others[: len(remote)])
        )
        return _Pull.apply(
            rows,
            self.index[0],
            self.pair_weights,
            sum(remote) if remote else None,
            memory,
            own,
        )


class _Pull(torch.autograd.Function):
    r"""Similarities of all anchors to their positives, from sums over classes.

    With the sums :math:`S_c` of the anchored rows of class c and :math:`K_c` of its
    memory, :math:`\sum_c w_c (S_c \cdot (S_c + K_c) - \sum_i \|z_i\|^2)`.
    """

    @staticmethod
    def forward(ctx, rows, index, weights, remote, memory, remote_own):
        sums = rows.new_zeros(len(weights), rows.size(1)).index_add_(0, index, rows)
        if remote is not None:
            sums += remote
        partners = sums if memory is None else sums + memory
        row_weights = weights[index]
        ctx.save_for_backward(rows, index, weights, row_weights, sums + partners)
        pairs = weights @ (sums * partners).sum(dim=1)
        return pairs - row_weights @ rows.square().sum(dim=1) - remote_own

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rows, index, weights, row_weights, both = ctx.saved_tensors
        grad_rows = (both * (weights * grad)[:, None])[index]
        grad_rows.addcmul_(rows, (row_weights * grad)[:, None], value=-2)
        return grad_rows, *[None] * 5


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


@MODELS.register_module()
class LabelWiseContrastiveLoss(PresentLabelContrast):
    """MulCon's label-level loss, see :func:`label_wise_contrastive_loss`.

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

    takes_negatives = True

    def __init__(
        self,
        temperature: float = 0.2,
        loss_weight: float = 0.5,
        across_processes: bool = True,
        memory: dict | None = None,
    ):
        super().__init__(temperature, loss_weight, across_processes, memory)

    def compute(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        negatives: torch.Tensor | None = None,
        keys: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of ``(N, D)`` embeddings with ``(N,)`` labels, and update of the memory.

        Args:
            embeddings (Tensor): ``(N, D)`` unit vectors of present labels.
            labels (Tensor): ``(N,)`` their labels.
            negatives (Tensor, optional): ``(M, D)`` unit vectors that join the
                denominators only. Defaults to None.
            keys (Tensor, optional): ``(N, D)`` unit vectors of the same labels from
                a momentum encoder, to be remembered instead of ``embeddings``.
                Defaults to None.

        Returns:
            Tensor: A scalar, without ``loss_weight``.
        """
        loss = label_wise_contrastive_loss(
            embeddings,
            labels,
            self.temperature,
            negatives,
            self.recall(),
            self.across_processes,
        )
        self.remember(embeddings if keys is None else keys, labels)
        return loss
