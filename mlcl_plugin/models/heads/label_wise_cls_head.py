# SPDX-License-Identifier: Apache-2.0
"""Classify every label from its own embedding, with optional contrast."""

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..utils import LabelWiseLinear, LabelWiseScale
from .contrastive_head import ContrastiveHead


@MODELS.register_module()
class LabelWiseClsHead(ContrastiveHead):
    r"""Head on label-wise embeddings: one linear unit per label.

    Logits are :math:`s_{bl} = w_l \cdot g_{bl} + b_l`. With a contrastive loss, the
    embeddings that it consumes pass through a shared projector into it; every view in
    the batch takes part. :class:`LabelWiseContrastiveLoss` consumes the embeddings of
    present labels, :class:`WithinLabelContrastiveLoss` and :class:`NeighbourVoteLoss`
    those of known labels, and :class:`ImageLevelContrastiveLoss` the mean of all label
    embeddings of each image.

    Unknown labels (-1) take part in no loss: they get no gradient, do not count
    in the mean, and are neither anchors nor in any denominator.

    With ``num_groups``, labels share the embeddings of G groups. Logits are
    :math:`w_l \cdot g_{b,g(l)} + b_l`, see :class:`LabelWiseLinear`. What enters the
    contrastive loss is :math:`g_{b,g(l)} \odot s_l`, with a learned factor for every
    label and channel that starts as random signs, see :class:`LabelWiseScale`:
    otherwise the labels of a group would have the same embedding. Groups of one label
    have no such factors.

    Sources: `MulCon <https://arxiv.org/abs/2107.11626>`_; `ML-Decoder
    <https://arxiv.org/abs/2111.12933>`_ for the logits of groups. Deviation: neither
    contrasts labels that share an embedding; the factors :math:`s_l` are this
    project's.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Width D of a label's embedding. Defaults to 1024.
        loss (dict): Config of the classification loss: any loss of MMPretrain
            that is a function of logit and target entry by entry
            (``CrossEntropyLoss`` with ``use_sigmoid=True``, ``AsymmetricLoss``,
            ``FocalLoss``). Defaults to binary cross-entropy.
        loss_reduction (str): How the entries of ``loss`` are reduced. ``'mean'``
            averages over all known entries (MulCon), ``'batch'`` sums over
            labels and averages over images (MMPretrain's own heads), ``'sum'``
            sums (the authors of ASL). Loss weights and learning rates do not
            carry over from one to another. The first two count the images of all
            processes; of a sum, DDP takes the mean over processes.
            Defaults to ``'mean'``.
        loss_contrastive (dict | nn.Module, optional): The contrastive loss, or its
            config: any :class:`ContrastiveLoss`. None trains with the classification
            loss only and has no projector. Defaults to None.
        projector (dict, optional): Arguments of the projector: ``hidden_channels``
            (None: ``in_channels``) and ``out_channels``. None contrasts the embeddings
            themselves. Defaults to MulCon's ``dict(out_channels=128)``.
        min_contrast_size (int): If fewer labels are present in the batch, the
            embeddings of the absent labels with the largest logits (hardest
            negatives) fill the denominators of the contrastive loss up to this number.
            They are no anchors. If the loss contrasts across processes, the number is
            that of all of them. 0 turns it off. Defaults to 0.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` has priority over it; without both, ``thr`` is 0.5.
        num_groups (int, optional): Number of groups G of a neck that decodes groups
            of labels. None expects an embedding for every label.
            Defaults to None.
        dropout (float): Share of the numbers of an embedding that the classifier
            does not see in training, see :class:`ContrastiveHead`. Contrast sees all.
            Defaults to 0.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            N(0, 0.02) with zero bias for all linear layers, as MulCon.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    training_only: tuple[str, ...] = ('label_scale',)

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1024,
        loss: dict = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
        loss_contrastive: dict | nn.Module | None = None,
        projector: dict | None = dict(out_channels=128),  # noqa: B006
        min_contrast_size: int = 0,
        thr: float | None = None,
        topk: int | None = None,
        num_groups: int | None = None,
        dropout: float = 0.0,
        init_cfg: dict | list | tuple | None = (
            dict(
                type='Normal', layer=['Linear', 'LabelWiseLinear'], std=0.02, bias=0.0
            ),
        ),
    ):
        super().__init__(
            num_classes=num_classes,
            loss=loss,
            loss_reduction=loss_reduction,
            thr=thr,
            topk=topk,
            dropout=dropout,
            init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg,
        )
        if in_channels < 1:
            raise ValueError(
                f'in_channels must be positive, got in_channels={in_channels}.'
            )
        if min_contrast_size < 0:
            raise ValueError(
                f'min_contrast_size must not be negative, got {min_contrast_size}.'
            )
        self.in_channels = in_channels
        self.num_groups = num_groups
        self.min_contrast_size = min_contrast_size
        self.label_scale: LabelWiseScale | None = None
        self.classifier = LabelWiseLinear(num_classes, in_channels, num_groups)
        self.add_contrast(loss_contrastive, in_channels, projector)
        contrast = self.contrastive_module
        if contrast is not None:
            if min_contrast_size and not contrast.takes_negatives:
                raise ValueError(
                    f'{type(contrast).__name__} takes no further negatives, got '
                    f'min_contrast_size={min_contrast_size}. Set it to 0.'
                )
            if self.classifier.group_size > 1:
                self.label_scale = LabelWiseScale(num_classes, in_channels)

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The embeddings ``(B, L, D)``, of groups ``(B, G, D)``, of the last stage.

        Raises:
            ValueError: If they have another shape.
        """
        embeddings = feats[-1]
        num_queries = self.classifier.num_groups
        if tuple(embeddings.shape[1:]) != (num_queries, self.in_channels):
            name = 'num_classes' if self.num_groups is None else 'num_groups'
            raise ValueError(
                f'The head expects label-wise embeddings (B, {name}={num_queries}, '
                f'in_channels={self.in_channels}), got {tuple(embeddings.shape)}. Set '
                'num_classes, num_groups and embed_dims of the neck to num_classes, '
                'num_groups and in_channels of the head.'
            )
        return embeddings

    def classify(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, L)`` of embeddings ``(B, L, D)`` or ``(B, G, D)``."""
        return self.classifier(embeddings)

    def project_images(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Project the mean embedding of each image.

        Args:
            embeddings (Tensor): ``(B, L, D)``, of groups ``(B, G, D)``.

        Returns:
            Tensor: ``(B, P)`` unit vectors.
        """
        return self.to_sphere(embeddings.mean(dim=1))

    def project(
        self, embeddings: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Project the embeddings of chosen labels only.

        Args:
            embeddings (Tensor): ``(B, L, D)``, of groups ``(B, G, D)``.
            images (Tensor): ``(N,)`` the image of each chosen label.
            labels (Tensor): ``(N,)`` the label.

        Returns:
            Tensor: ``(N, P)`` unit vectors.
        """
        chosen = embeddings[images, labels // self.classifier.group_size]
        if self.label_scale is not None:
            chosen = self.label_scale(chosen, labels)
        return self.to_sphere(chosen)
