# SPDX-License-Identifier: Apache-2.0
"""A memory of image embeddings of earlier batches."""

import torch
from mmpretrain.registry import MODELS

from ...targets import is_known
from .base import Memory
from .embedding_memory import EmbeddingMemory


@MODELS.register_module()
class ImageEmbeddingMemory(Memory):
    """Keep the latest embeddings of images, with all their targets.

    There is one queue; when it is full, new images replace the oldest. Images without a
    known label are not remembered. An entry is the embedding with the targets appended,
    in the queue of an :class:`EmbeddingMemory` with a single label. So processes,
    checkpoints and moving averages are treated as there.

    Source: the queue of MulSupCon (`arXiv 2402.01613
    <https://arxiv.org/abs/2402.01613>`_), which is that of MoCo (`arXiv 1911.05722
    <https://arxiv.org/abs/1911.05722>`_) with labels. Deviation: it starts empty, not
    full of random vectors.

    Args:
        size (int): Images in the queue.
        num_classes (int): Number of labels L.
        embed_dims (int): Width P of an embedding. Defaults to 128.
        start (int): Number of batches to remember before the memory is used.
            Defaults to 0.

    Raises:
        ValueError: If a size is not positive or ``start`` is negative.
    """

    def __init__(
        self, size: int, num_classes: int, embed_dims: int = 128, start: int = 0
    ):
        super().__init__()
        for name, value in dict(num_classes=num_classes, embed_dims=embed_dims).items():
            if value < 1:
                raise ValueError(f'{name} must be positive, got {value}.')
        self.num_classes = num_classes
        self.embed_dims = embed_dims
        self.queue = EmbeddingMemory(size, embed_dims + num_classes, start=start)

    def read(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The embeddings ``(K, P)`` float32 and their targets ``(K, L)`` float32.

        None before ``start`` batches are remembered.
        """
        content = self.queue.read()
        if content is None:
            return None
        return content[0].split([self.embed_dims, self.num_classes], dim=1)

    def write(self, embeddings: torch.Tensor, targets: torch.Tensor) -> None:
        """Remember a batch, that of all processes of a run.

        Args:
            embeddings (Tensor): ``(B, P)``, of this process.
            targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.

        Raises:
            ValueError: If the embeddings or targets have another shape.
        """
        shapes = tuple(embeddings.shape), tuple(targets.shape)
        number = len(targets)
        if shapes != ((number, self.embed_dims), (number, self.num_classes)):
            raise ValueError(
                f'The memory holds embeddings of embed_dims={self.embed_dims} with '
                f'targets of num_classes={self.num_classes}, got {shapes[0]} and '
                f'{shapes[1]}. Set embed_dims of the memory to out_channels of the '
                "projector and num_classes to the head's."
            )
        known = is_known(targets).any(dim=1)
        entries = torch.cat([embeddings.float(), targets.float()], dim=1)[known]
        self.queue.write(entries, known.new_zeros(len(entries), dtype=torch.int64))
