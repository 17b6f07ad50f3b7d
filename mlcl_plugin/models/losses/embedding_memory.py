# SPDX-License-Identifier: Apache-2.0
"""A memory of label embeddings of earlier batches."""

import torch
from mmpretrain.registry import MODELS

from ..utils.gather import RaggedGather
from .base import Memory


@MODELS.register_module()
class EmbeddingMemory(Memory):
    """Keep the latest embeddings of present labels, with their labels.

    There is one queue for all labels (``num_classes=None``), most of which frequent
    labels fill, or one of equal size for every label. When a queue is full, new entries
    replace the oldest.

    In a run of several processes, each remembers the embeddings of all processes in
    the same order. So all memories are equal, and a checkpoint of one serves all. The
    memory is part of the checkpoint and of a resumed run.

    Sources: XBM (`arXiv 1912.06798 <https://arxiv.org/abs/1912.06798>`_), the queue
    of MoCo (`arXiv 1911.05722 <https://arxiv.org/abs/1911.05722>`_). Deviation from
    XBM: a batch is remembered after its loss, so that no embedding meets itself.

    Args:
        size (int): Entries of the queue, or of each label's queue.
        embed_dims (int): Width D of an embedding. Defaults to 128.
        num_classes (int, optional): Number of labels L, for one queue per label. None
            has one queue for all. Defaults to None.
        start (int): Number of batches to remember before the memory is used, since
            embeddings change fast at first. Defaults to 0.

    Raises:
        ValueError: If a size is not positive or ``start`` is negative.
    """

    bits: torch.Tensor
    labels: torch.Tensor
    heads: torch.Tensor
    num_writes: torch.Tensor

    def __init__(
        self,
        size: int,
        embed_dims: int = 128,
        num_classes: int | None = None,
        start: int = 0,
    ):
        super().__init__()
        sizes = dict(size=size, embed_dims=embed_dims)
        if num_classes is not None:
            sizes['num_classes'] = num_classes
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f'{name} must be positive, got {value}.')
        if start < 0:
            raise ValueError(f'start must not be negative, got {start}.')
        self.size = size
        self.num_classes = num_classes
        self.start = start
        num_queues = num_classes or 1
        # The bits of float32 as integers: an EMA of a model's buffers would average
        # embeddings of different labels.
        self.register_buffer(
            'bits', torch.zeros(num_queues * size, embed_dims, dtype=torch.int32)
        )
        # -1 is an empty entry.
        self.register_buffer(
            'labels', torch.full((num_queues * size,), -1, dtype=torch.int64)
        )
        # Where each queue is written to next.
        self.register_buffer('heads', torch.zeros(num_queues, dtype=torch.int64))
        self.register_buffer('num_writes', torch.zeros((), dtype=torch.int64))

    def read(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The embeddings ``(K, D)`` float32 and their labels ``(K,)``.

        None before ``start`` batches are remembered.
        """
        if self.num_writes < self.start:
            return None
        used = self.labels >= 0
        return self.bits.view(torch.float32)[used], self.labels[used]

    @torch.no_grad()
    def write(self, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
        """Remember a batch, that of all processes of a run.

        Args:
            embeddings (Tensor): ``(N, D)``, of this process.
            labels (Tensor): ``(N,)`` int64, not negative, their labels.

        Raises:
            ValueError: If the embeddings have another width or a label is not below
                ``num_classes``.
        """
        if embeddings.ndim != 2 or embeddings.size(1) != self.bits.size(1):
            raise ValueError(
                f'The memory holds embeddings of embed_dims={self.bits.size(1)}, got '
                f'{tuple(embeddings.shape)}. Set embed_dims of the memory to '
                'out_channels of the projector.'
            )
        gather = RaggedGather(len(labels), labels.device)
        embeddings = gather.all(embeddings.float())
        labels = gather.all(labels)
        queues = torch.zeros_like(labels)
        if self.num_classes is not None:
            queues = labels
            if len(labels) and labels.max() >= self.num_classes:
                raise ValueError(
                    f'Got label {int(labels.max())}, but the memory has num_classes='
                    f'{self.num_classes}.'
                )
        # Stable, to keep the order of arrival in every queue.
        queues, order = queues.sort(stable=True)
        counts = queues.bincount(minlength=len(self.heads))
        arrival = torch.arange(len(queues), device=queues.device)
        arrival -= (counts.cumsum(0) - counts)[queues]
        # Keep the latest if there are more than a queue can hold.
        kept = arrival >= counts[queues] - self.size
        slots = (self.heads[queues] + arrival) % self.size + queues * self.size
        self.bits[slots[kept]] = embeddings[order[kept]].view(torch.int32)
        self.labels[slots[kept]] = labels[order[kept]]
        self.heads += counts
        self.heads %= self.size
        self.num_writes += 1

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return (
            f'size={self.size}, embed_dims={self.bits.size(1)}, '
            f'num_classes={self.num_classes}, start={self.start}'
        )
