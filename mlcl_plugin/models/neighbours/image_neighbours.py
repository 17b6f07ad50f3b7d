# SPDX-License-Identifier: Apache-2.0
"""Score labels by the nearest training images."""

from collections.abc import Sequence

from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from torch import Tensor

from ..heads.contrastive_head import ContrastiveHead
from .base import Neighbours
from .member import Outputs


@MODELS.register_module()
class ImageNeighbours(Neighbours):
    """One memory for all labels, of one vector per training image.

    Of the nearest images, those vote for a label in which it is known; the nearest are
    counted among these, label by label. It needs no training: pooled features of a
    pre-trained backbone will do. See :class:`Neighbours` for the votes, and
    :class:`LabelNeighbours` for the sources.

    Args:
        temperature (float): The divisor of cosines. Defaults to 0.05.
        num_neighbours (int, optional): Number of nearest images that vote. Defaults to
            None: 100. Centres all vote.
        source (str): ``'backbone'`` compares the last features of the backbone,
            averaged over all places; ``'embeddings'`` what the head classifies, if that
            is one vector per image; ``'projections'`` what its projector makes of an
            image. Defaults to ``'backbone'``.
        dims (int, optional): Project the vectors to this number of principal axes. None
            stores them as they are. Defaults to None.
        storage (str): ``'float16'`` or ``'int8'``, the type of a stored number.
            Defaults to ``'float16'``.
        prototypes (Sequence[int], optional): Store at most this number of k-means
            centres of present and of absent images per label. None stores every image.
            Defaults to None.
        init_cfg (dict | list, optional): Initialization config. Defaults to None.

    Raises:
        ValueError: If an option is out of range, or if ``num_neighbours`` is set for
            centres.
    """

    kind = 'image'
    default_neighbours = 100
    sources = ('backbone', 'embeddings', 'projections')

    def __init__(
        self,
        temperature: float = 0.05,
        num_neighbours: int | None = None,
        source: str = 'backbone',
        dims: int | None = None,
        storage: str = 'float16',
        prototypes: Sequence[int] | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(
            temperature, num_neighbours, source, dims, storage, prototypes, init_cfg
        )

    def check_head(self, head: MultiLabelClsHead) -> None:
        """Raise a ValueError if a head has no projection for ``source``."""
        if self.source == 'projections':
            self._with_projector(head)

    @staticmethod
    def _with_projector(head: MultiLabelClsHead) -> ContrastiveHead:
        if not isinstance(head, ContrastiveHead) or head.projector is None:
            raise ValueError(
                "ImageNeighbours with source='projections' needs a head with a "
                f'projector, got a {type(head).__name__} without one. Set '
                "loss_contrastive of the head, or use source='backbone'."
            )
        return head

    def vectors(self, outputs: Outputs) -> Tensor:
        """One vector ``(B, 1, D)`` for each image.

        Raises:
            ValueError: If the head classifies something else than one vector per image,
                and ``source`` is ``'embeddings'``.
        """
        if self.source == 'backbone':
            return _pool(outputs.features)[:, None]
        if self.source == 'projections':
            head = self._with_projector(outputs.head)
            return head.project_images(outputs.embeddings)[:, None]
        if outputs.embeddings.ndim != 2:
            raise ValueError(
                "ImageNeighbours with source='embeddings' needs a head that classifies "
                f'one vector per image (B, D), got {tuple(outputs.embeddings.shape)} '
                f"from {type(outputs.head).__name__}. Use source='backbone'."
            )
        return outputs.embeddings[:, None]


def _pool(features: Tensor | Sequence[Tensor]) -> Tensor:
    """Vectors ``(B, C)``, averages over the places of the last features.

    Raises:
        ValueError: If the features are no map, tokens or vectors.
    """
    last = features if isinstance(features, Tensor) else features[-1]
    if last.ndim == 4:
        return last.float().flatten(2).mean(dim=2)
    if last.ndim == 3:
        # Tokens, a class token included.
        return last.float().mean(dim=1)
    if last.ndim == 2:
        return last
    raise ValueError(
        'ImageNeighbours takes a feature map (B, C, H, W), tokens (B, N, C) or vectors '
        f'(B, C) from the backbone, got {tuple(last.shape)}.'
    )
