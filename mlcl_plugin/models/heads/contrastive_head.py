# SPDX-License-Identifier: Apache-2.0
"""Base of heads with optional contrast."""

import copy
from collections.abc import Sequence
from functools import partial

import torch
from mmpretrain.structures import DataSample
from torch import nn

from ..losses.base import ContrastiveLoss
from ..losses.contrast_inputs import ContrastInputs, Projections
from ..utils import ContrastiveProjector, UnitVectors, build_loss, check_share
from ..utils.targets import collect_image_numbers
from ..utils.training_only import TrainingOnlyParts
from .partial_label_head import PartialLabelHead


class ContrastiveHead(TrainingOnlyParts, PartialLabelHead):
    """Base of heads that put projections into a contrastive loss.

    A subclass makes its classifier, calls :meth:`add_contrast`, and writes
    :meth:`pre_logits`, :meth:`classify`, :meth:`project_images` and, if it has an
    embedding for every label, :meth:`project`.

    Args:
        *args: Those of :class:`PartialLabelHead`.
        dropout (float): Share of the numbers of what :meth:`pre_logits` returns that
            the classifier does not see in training. Contrast, memories and neighbours
            get the whole embedding: they compare embeddings, and those that inference
            compares are whole. Defaults to 0.
        **kwargs: Those of :class:`PartialLabelHead`.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    training_only: tuple[str, ...] = ('projector', 'contrastive_module')

    accepts: type[ContrastiveLoss] = ContrastiveLoss
    """The kind of contrastive losses that the head takes."""

    min_contrast_size: int = 0
    """Number of embeddings up to which absent labels fill the denominators."""

    projector: ContrastiveProjector | UnitVectors | None
    contrastive_module: ContrastiveLoss | None

    def __init__(self, *args, dropout: float = 0.0, **kwargs):
        super().__init__(*args, **kwargs)
        check_share('dropout', dropout)
        self.dropout = nn.Dropout(dropout)

    def add_contrast(
        self,
        loss_contrastive: dict | nn.Module | None,
        in_channels: int,
        projector: dict | None,
    ) -> None:
        """Build the contrastive loss and its projector.

        Args:
            loss_contrastive (dict | nn.Module, optional): The loss, or its config.
                With None there is neither loss nor projector.
            in_channels (int): Width of what is projected.
            projector (dict, optional): Other arguments of
                :class:`ContrastiveProjector`. With None embeddings themselves, at unit
                length, enter the loss.

        Raises:
            ValueError: If the loss is none that the head takes.
        """
        self.projector = None
        self.contrastive_module = None
        if loss_contrastive is None:
            return
        head = type(self).__name__
        loss = build_loss(
            loss_contrastive,
            ContrastiveLoss,
            f'loss_contrastive of {head}',
            f'Let it derive from {self.accepts.__name__} (mlcl_plugin.models.losses), '
            'see docs/extend.md.',
        )
        if not isinstance(loss, self.accepts):
            name = type(loss).__name__
            raise ValueError(
                f'{head} contrasts {self.accepts.consumes}, which {name} does not: it '
                f'contrasts {loss.consumes}. Use a loss that derives from '
                f'{self.accepts.__name__}, or LabelWiseClsHead, which takes all kinds.'
            )
        self.contrastive_module = loss
        if projector is None:
            self.projector = UnitVectors()
        else:
            self.projector = ContrastiveProjector(in_channels, **projector)

    @property
    def takes_keys(self) -> bool:
        """Whether the contrastive loss has a memory, which ``keys`` may fill."""
        contrast = self.contrastive_module
        return contrast is not None and contrast.memory is not None

    def encoder(self) -> 'ContrastiveHead':
        """A copy of the head without its contrastive loss: the part that embeds."""
        # deepcopy takes what the memo holds for an object instead of copying it.
        return copy.deepcopy(self, {id(self.contrastive_module): None})

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """What is classified and projected, from the output of neck or backbone."""
        raise NotImplementedError

    def classify(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, L)`` of what :meth:`pre_logits` returns."""
        raise NotImplementedError

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, L)`` of the output of neck or backbone."""
        return self.classify(self.dropout(self.pre_logits(feats)))

    def project_images(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Project one vector per image.

        Args:
            embeddings (Tensor): What :meth:`pre_logits` returns.

        Returns:
            Tensor: ``(B, P)`` unit vectors.
        """
        raise NotImplementedError

    def project(
        self, embeddings: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Project the embeddings of chosen labels only.

        Args:
            embeddings (Tensor): What :meth:`pre_logits` returns.
            images (Tensor): ``(N,)`` the image of each chosen label.
            labels (Tensor): ``(N,)`` the label.

        Returns:
            Tensor: ``(N, P)`` unit vectors.

        Raises:
            ValueError: If the head has no embeddings of labels.
        """
        raise ValueError(
            f'{type(self).__name__} has one embedding per image and none per label. '
            'Use LabelWiseClsHead.'
        )

    def to_sphere(self, vectors: torch.Tensor) -> torch.Tensor:
        """Unit vectors ``(..., P)`` of vectors, by the projector.

        Raises:
            ValueError: If the head is built without contrast.
        """
        if self.projector is None:
            raise ValueError(
                f'{type(self).__name__} has no projector, since it is built without '
                'loss_contrastive.'
            )
        return self.projector(vectors)

    def projections(self, embeddings: torch.Tensor) -> Projections:
        """Projections of a batch for a contrastive loss, computed on demand."""
        return Projections(
            images=partial(self.project_images, embeddings),
            labels=partial(self.project, embeddings),
        )

    def loss(
        self,
        feats: Sequence[torch.Tensor],
        data_samples: list[DataSample],
        keys: Projections | None = None,
        **kwargs,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch.

        Args:
            feats (Sequence[Tensor]): The output of neck or backbone.
            data_samples (list[DataSample]): B samples with ``gt_score`` (1
                present, 0 absent, -1 unknown) or ``gt_label`` (indices).
            keys (Projections, optional): Projections of the same batch by a momentum
                encoder. The memory of the contrastive loss keeps them instead of those
                of this head. Defaults to None.
            **kwargs: Passed on to the classification loss.

        Returns:
            dict[str, Tensor]: ``loss_cls`` and those of :meth:`contrast_losses`,
            already weighted.

        Raises:
            ValueError: If a target is malformed, see
                :func:`mlcl_plugin.models.utils.collect_targets`.
        """
        embeddings = self.pre_logits(feats)
        logits = self.classify(self.dropout(embeddings))
        targets = self.collect_targets(data_samples, logits)
        return dict(
            loss_cls=self.classification_loss(logits, targets, **kwargs),
            **self.contrast_losses(
                embeddings,
                logits,
                targets,
                keys,
                collect_image_numbers(data_samples, logits.device),
            ),
        )

    def contrast_losses(
        self,
        embeddings: torch.Tensor,
        logits: torch.Tensor,
        targets: torch.Tensor,
        keys: Projections | None = None,
        images: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of contrast.

        Args:
            embeddings (Tensor): What :meth:`pre_logits` returns.
            logits (Tensor): ``(B, L)``.
            targets (Tensor): ``(B, L)``.
            keys (Projections, optional): Of a momentum encoder. Defaults to None.
            images (Tensor, optional): ``(B,)`` the number of the image that each row
                shows; views of an image share it. Defaults to None.

        Returns:
            dict[str, Tensor]: ``loss_contrastive``; nothing without contrast.
        """
        if self.contrastive_module is None:
            return {}
        inputs = ContrastInputs(
            targets,
            logits,
            self.projections(embeddings),
            keys,
            self.min_contrast_size,
            images,
        )
        return dict(loss_contrastive=self.contrastive_module.contrast(inputs))
