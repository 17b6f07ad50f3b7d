# SPDX-License-Identifier: Apache-2.0
"""A memory of the embeddings of known labels of earlier batches."""

import torch
from mmpretrain.registry import MODELS

from .base import Memory
from .embedding_memory import EmbeddingMemory


@MODELS.register_module()
class KnownLabelMemory(Memory):
    """Keep the latest embeddings of known labels, present and absent.

    There is one queue of equal size for every label, in which present and absent
    entries stand in the order of their arrival: their shares are those of the data.
    An entry is the embedding with its target appended, in an :class:`EmbeddingMemory`.
    So processes, checkpoints and moving averages are treated as there.

    The memory does not know which image an entry is of. If it holds more than an epoch
    has, an image meets its own earlier embedding: keep ``size`` well below the number
    of training images.

    Args:
        size (int): Entries of each label's queue.
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
        if embed_dims < 1:
            raise ValueError(f'embed_dims must be positive, got {embed_dims}.')
        self.embed_dims = embed_dims
        self.queue = EmbeddingMemory(size, embed_dims + 1, num_classes, start)

    def read(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The embeddings ``(K, P)`` float32, and label and target ``(K, 2)`` int64.

        None before ``start`` batches are remembered.
        """
        content = self.queue.read()
        if content is None:
            return None
        embeddings, targets = content[0].split([self.embed_dims, 1], dim=1)
        return embeddings, torch.stack([content[1], targets[:, 0].long()], dim=1)

    def write(self, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
        """Remember a batch, that of all processes of a run.

        Args:
            embeddings (Tensor): ``(N, P)``, of this process.
            labels (Tensor): ``(N, 2)`` int64, label and target (1 present, 0 absent).

        Raises:
            ValueError: If the embeddings have another width or a label is not below
                ``num_classes``.
        """
        if embeddings.ndim != 2 or embeddings.size(1) != self.embed_dims:
            raise ValueError(
                f'The memory holds embeddings of embed_dims={self.embed_dims}, got '
                f'{tuple(embeddings.shape)}. Set embed_dims of the memory to '
                'out_channels of the projector; without a projector, to in_channels '
                'of the head.'
            )
        entries = torch.cat([embeddings.float(), labels[:, 1:].float()], dim=1)
        self.queue.write(entries, labels[:, 0])
