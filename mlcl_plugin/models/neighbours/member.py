# SPDX-License-Identifier: Apache-2.0
"""What joins the scores of a classifier and is made from all training images."""

from collections.abc import Sequence
from typing import NamedTuple

from mmengine.model import BaseModule
from mmpretrain.models.heads import MultiLabelClsHead
from torch import Tensor

from .kernel import Votes


class Outputs(NamedTuple):
    """What the parts of a classifier give for a batch.

    ``features`` is the output of the backbone, ``embeddings`` what the head classifies
    (its ``pre_logits``).
    """

    head: MultiLabelClsHead
    features: Tensor | Sequence[Tensor]
    embeddings: Tensor


class Neighbour(NamedTuple):
    """An entry of a memory that votes on a label.

    ``image`` is the name of the training image, for a prototype that of the image
    nearest to it; ``share`` its share of all votes, ``cosine`` its cosine to the query,
    ``present`` its vote, ``num_images`` the number of images that it stands for.
    """

    image: str
    share: float
    cosine: float
    present: bool
    num_images: int


class Member(BaseModule):
    """Base of what a :class:`NeighbourClassifier` joins with the scores of its head.

    A member is made once, when training has ended: :meth:`clear`, :meth:`add` for each
    batch of training images, then :meth:`build`. What it holds are buffers, and part of
    the checkpoint.
    """

    kind = ''
    """``'label'`` for one vector per label, ``'image'`` for one per image."""

    num_views: int = 0
    """Views of the training pipeline that it learns from, besides that of the test."""

    def check_head(self, head: MultiLabelClsHead) -> None:
        """Raise a ValueError if a head does not give the vectors."""
        raise NotImplementedError

    def vectors(self, outputs: Outputs) -> Tensor:
        """Vectors ``(B, G, D)`` of a batch; G is the number of labels, or 1."""
        raise NotImplementedError

    def training_vectors(self, outputs: Outputs) -> Tensor:
        """What :meth:`add` takes of a batch: its vectors, unless it needs fewer."""
        return self.vectors(outputs)

    def clear(self) -> None:
        """Empty it."""
        raise NotImplementedError

    @property
    def is_filled(self) -> bool:
        """Whether it has been built."""
        raise NotImplementedError

    @property
    def num_bytes(self) -> int:
        """Bytes that it holds."""
        return sum(buffer.numel() * buffer.itemsize for buffer in self.buffers())

    def describe(self) -> str:
        """What it holds, for the log."""
        raise NotImplementedError

    def add(self, vectors: Tensor, targets: Tensor, images: Tensor) -> None:
        """Take in a batch of training images.

        Args:
            vectors (Tensor): ``(B, G, D)``, see :meth:`training_vectors`.
            targets (Tensor): ``(B, L)``, 1 present, 0 absent, -1 unknown.
            images (Tensor): ``(B,)`` the index of each image among the names.
        """
        raise NotImplementedError

    def build(self, names: Sequence[str]) -> None:
        """Make it of what was added.

        Args:
            names (Sequence[str]): Names of the images.
        """
        raise NotImplementedError

    def forward(self, vectors: Tensor) -> Votes:
        """Votes ``(B, L)`` of vectors; nan for labels that it cannot tell."""
        raise NotImplementedError

    def explain(
        self, vectors: Tensor, label: int, number: int = 5, present: bool = True
    ) -> list[Neighbour]:
        """The training images that speak most for a label or against it; none here."""
        return []
