# SPDX-License-Identifier: Apache-2.0
"""Score a label by the nearest training embeddings of the same label."""

from collections.abc import Sequence

import torch
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from torch import Tensor

from ..heads.label_wise_cls_head import LabelWiseClsHead
from ..losses.neighbour_vote_loss import NeighbourVoteLoss
from ..utils import UnitVectors
from .base import Neighbours
from .member import Outputs


@MODELS.register_module()
class LabelNeighbours(Neighbours):
    """A memory per label of its embeddings in the training images.

    An image's embedding of *dog* is compared with the training images' embeddings of
    *dog*. See :class:`Neighbours` for the votes, and :class:`NeighbourClassifier` for
    how they join the logits.

    The idea of neighbours in multi-label classification: `Su, Wang, Dai, ACL 2022
    <https://aclanthology.org/2022.acl-short.75/>`_, for texts with one embedding for
    all labels; a debiased form is `arXiv 2408.03202
    <https://arxiv.org/abs/2408.03202>`_. Deviation: one memory per label, of label-wise
    embeddings, in which absent labels vote as well.

    Args:
        temperature (float): The divisor of cosines. Defaults to 0.05.
        num_neighbours (int, optional): With ``prototypes=None``, the number of nearest
            embeddings that vote. Defaults to None: 1000. Centres all vote.
        source (str): ``'embeddings'`` compares the embeddings that the head
            classifies, ``'projections'`` what its projector makes of them, which is
            what a contrastive loss sees. Defaults to ``'embeddings'``.
        dims (int, optional): Project the embeddings of each label to this number of
            principal axes. None stores them as they are. Defaults to None.
        storage (str): ``'float16'`` or ``'int8'``, the type of a stored number.
            Defaults to ``'float16'``.
        prototypes (Sequence[int], optional): Store at most this number of k-means
            centres of present and of absent embeddings per label. None stores every
            embedding, which gives the same mAP and costs far more memory and time
            (docs/neighbours.md). Defaults to (32, 64).
        init_cfg (dict | list, optional): Initialization config. Defaults to None.

    Raises:
        ValueError: If an option is out of range, or if ``num_neighbours`` is set for
            centres.
    """

    kind = 'label'
    default_neighbours = 1000
    sources = ('embeddings', 'projections')

    def __init__(
        self,
        temperature: float = 0.05,
        num_neighbours: int | None = None,
        source: str = 'embeddings',
        dims: int | None = None,
        storage: str = 'float16',
        prototypes: Sequence[int] | None = (32, 64),
        init_cfg: dict | list | None = None,
    ):
        super().__init__(
            temperature, num_neighbours, source, dims, storage, prototypes, init_cfg
        )

    def check_head(self, head: MultiLabelClsHead) -> None:
        """Check that a head gives the vectors, and is trained for this kernel.

        Raises:
            ValueError: If the head has no embedding for every label, or is trained for
                the votes of neighbours (:class:`NeighbourVoteLoss`) at another
                temperature.
        """
        head = self._checked(head)
        contrast = head.contrastive_module
        if (
            isinstance(contrast, NeighbourVoteLoss)
            and self._compares_what_is_contrasted(head)
            and self.temperature != contrast.temperature
        ):
            raise ValueError(
                'NeighbourVoteLoss trains embeddings for the votes of LabelNeighbours, '
                f'but LabelNeighbours has temperature={self.temperature} and the loss '
                f'temperature={contrast.temperature}. Set both to the same value. (To '
                'try another one on a trained model, set it in loss_contrastive of the '
                'head, too, which has no effect on scores.)'
            )

    def _compares_what_is_contrasted(self, head: LabelWiseClsHead) -> bool:
        """Whether the contrastive loss of a head sees the vectors of this memory."""
        own = isinstance(head.projector, UnitVectors) and head.label_scale is None
        return self.source == 'projections' or own

    def _checked(self, head: MultiLabelClsHead) -> LabelWiseClsHead:
        if not isinstance(head, LabelWiseClsHead):
            raise ValueError(
                'LabelNeighbours compares embeddings of labels, but the head is a '
                f'{type(head).__name__}. Use a LabelWiseClsHead, or ImageNeighbours.'
            )
        if self.source == 'projections' and head.projector is None:
            raise ValueError(
                "LabelNeighbours with source='projections' needs a head with a "
                'projector. Set loss_contrastive of the head; in a config with steps '
                "name the step that trains with it, or use source='embeddings'."
            )
        return head

    def vectors(self, outputs: Outputs) -> Tensor:
        """Embeddings ``(B, L, D)`` or projections ``(B, L, P)`` of all labels."""
        head, embeddings = self._checked(outputs.head), outputs.embeddings
        labels = torch.arange(head.num_classes, device=embeddings.device)
        if self.source == 'embeddings':
            if head.num_groups is None:
                return embeddings
            return embeddings[:, labels // head.classifier.group_size]
        batch = embeddings.shape[0]
        images = torch.arange(batch, device=embeddings.device)
        projections = head.project(
            embeddings,
            images.repeat_interleave(head.num_classes),
            labels.repeat(batch),
        )
        return projections.unflatten(0, (batch, head.num_classes))
