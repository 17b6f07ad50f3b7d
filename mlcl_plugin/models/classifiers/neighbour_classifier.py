# SPDX-License-Identifier: Apache-2.0
"""A classifier whose scores are joined by the votes of training images."""

import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import ModuleList
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ..neighbours import Member, Neighbour, Outputs, Votes, blend, check_weights

# Chosen on images of VOC2007 that were not trained on. Logits of training images are
# too good, so that these cannot choose.
DEFAULT_WEIGHTS = {
    ('label',): (0.3, 0.7),
    ('image',): (0.5, 0.5),
    ('label', 'image'): (0.2, 0.5, 0.3),
}


@MODELS.register_module()
class NeighbourClassifier(ImageClassifier):
    r"""Image classifier whose scores are blended with votes of training images.

    .. math::
        p_{bl} = w_0\, \sigma(s_{bl}) + \sum_i w_i\, p^{(i)}_{bl}

    with the logits :math:`s` of the head and the votes :math:`p^{(i)}` of memories.
    Where a memory has no vote, its weight goes to the logit. The blend is returned as
    logits wherever MMPretrain expects logits, so that scores, thresholds, dumps and
    test-time augmentation work as with any classifier.

    Backbone, neck and head are trained as in ``ImageClassifier``. The memories are
    filled after training, by ``mlcl_plugin.apis.fit_neighbours``
    or :class:`FillNeighboursHook`, and are part of the checkpoint. As long as they are
    empty, scores are those of the head.

    Args:
        backbone (dict): Config of the backbone.
        neck (dict, optional): Config of the neck. Defaults to None.
        head (dict): Config of a multi-label head.
        neighbours (Sequence[dict]): Configs of the memories, :class:`LabelNeighbours`
            and :class:`ImageNeighbours`, and of :class:`PooledLogistic`. Defaults to
            one :class:`LabelNeighbours`.
        weights (Sequence[float], optional): Weight of the logits and of each memory,
            which sum to 1. None takes (0.3, 0.7) for label-wise neighbours, (0.5, 0.5)
            for image-level ones and (0.2, 0.5, 0.3) for both in this order.
            Defaults to None.
        **kwargs: Other arguments of :class:`mmpretrain.models.ImageClassifier`.

    Raises:
        ValueError: If the weights do not fit the memories, or the head cannot give what
            a memory compares.
    """

    backbone: nn.Module
    neck: nn.Module
    head: MultiLabelClsHead
    neighbours: ModuleList

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        neighbours: Sequence[dict | nn.Module] = (dict(type='LabelNeighbours'),),
        weights: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        if not isinstance(self.head, MultiLabelClsHead):
            raise ValueError(
                'NeighbourClassifier needs a head for several labels '
                f'(MultiLabelClsHead), got {type(self.head).__name__}.'
            )
        if isinstance(neighbours, dict) or not neighbours:
            raise ValueError(
                'neighbours must be a list of one or more configs, got '
                f'{neighbours!r}. Without neighbours use ImageClassifier.'
            )
        built = [
            item if isinstance(item, nn.Module) else MODELS.build(item)
            for item in neighbours
        ]
        for item in built:
            if not isinstance(item, Member):
                raise ValueError(
                    'neighbours must be LabelNeighbours, ImageNeighbours or '
                    f'PooledLogistic, got {type(item).__name__}.'
                )
            item.check_head(self.head)
        if weights is None:
            kinds = tuple(item.kind for item in built)
            if kinds not in DEFAULT_WEIGHTS:
                raise ValueError(
                    f'There are no default weights for neighbours of the kinds {kinds}.'
                    ' Set weights, one for the logits and one for each of neighbours.'
                )
            weights = DEFAULT_WEIGHTS[kinds]
        self.weights = check_weights(weights, len(built))
        # MMEngine's list initialises what it holds.
        self.neighbours = ModuleList(built)
        self._has_warned = False

    @property
    def memories(self) -> list[Member]:
        """The memories, in the order of ``neighbours``."""
        return [item for item in self.neighbours if isinstance(item, Member)]

    def outputs(self, inputs: torch.Tensor) -> tuple[torch.Tensor, Outputs]:
        """Run backbone, neck and head.

        Args:
            inputs (Tensor): ``(B, C, H, W)``.

        Returns:
            tuple[Tensor, Outputs]: The head's logits ``(B, L)``, and what neighbours
            make vectors of.
        """
        features = self.backbone(inputs)
        feats = self.neck(features) if self.with_neck else features
        outputs = Outputs(self.head, features, self.head.pre_logits(feats))
        return self.head(feats), outputs

    def vectors(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """What each memory compares, of a batch of images ``(B, C, H, W)``.

        Returns:
            list[Tensor]: ``(B, L, D)`` or ``(B, 1, D)`` for each memory.
        """
        _, outputs = self.outputs(inputs)
        return [item.vectors(outputs) for item in self.memories]

    def members(self, inputs: torch.Tensor) -> tuple[torch.Tensor, list[Votes]]:
        """Logits of the head and votes of the memories, of images ``(B, C, H, W)``.

        Returns:
            tuple[Tensor, list[Votes]]: ``(B, L)`` each.

        Raises:
            ValueError: If a memory is empty.
        """
        logits, outputs = self.outputs(inputs)
        votes = [item(item.vectors(outputs)) for item in self.memories]
        return logits, votes

    @property
    def is_filled(self) -> bool:
        """Whether all memories are filled."""
        return all(item.is_filled for item in self.memories)

    def blended_logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, L)`` of the blend, of images ``(B, C, H, W)``."""
        if not self.is_filled:
            if not self._has_warned:
                self._has_warned = True
                print_log(
                    'The memory of neighbours is empty: scores are those of the '
                    'head alone. Fill it with FillNeighboursHook or '
                    'mlcl_plugin.apis.fit_neighbours.',
                    'current',
                    logging.WARNING,
                )
            return self.head(self.extract_feat(inputs))
        logits, votes = self.members(inputs)
        return blend(logits, votes, self.weights)

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ):
        """As in :class:`mmpretrain.models.ImageClassifier`, with blended logits."""
        if mode == 'tensor':
            return self.blended_logits(inputs)
        return super().forward(inputs, data_samples, mode)

    def predict(
        self,
        inputs: torch.Tensor,
        data_samples: list[DataSample] | None = None,
        **kwargs,
    ) -> list[DataSample]:
        """Predict the labels of images.

        Args:
            inputs (Tensor): ``(B, C, H, W)``.
            data_samples (list[DataSample], optional): Their B samples.
            **kwargs: Passed on to the head.

        Returns:
            list[DataSample]: Samples with ``pred_score`` and ``pred_label``.
        """
        # The head's contract for predictions from logits.
        return self.head._get_predictions(
            self.blended_logits(inputs), data_samples, **kwargs
        )

    @torch.no_grad()
    def explain(
        self,
        inputs: torch.Tensor,
        label: int,
        number: int = 5,
        present: bool = True,
    ) -> list[list[list[Neighbour]]]:
        """The training images that speak most for a label, or most against it.

        Args:
            inputs (Tensor): ``(B, C, H, W)``, as the data preprocessor gives them.
            label (int): The index of the label.
            number (int): The greatest number of images. Defaults to 5.
            present (bool): Images for the label (True) or against it (False).
                Defaults to True.

        Returns:
            list[list[list[Neighbour]]]: For each of the B images and each memory, see
            :meth:`Neighbours.explain`.
        """
        vectors = self.vectors(inputs)
        return [
            [
                item.explain(of_batch[image], label, number, present)
                for item, of_batch in zip(self.memories, vectors)
            ]
            for image in range(len(inputs))
        ]
