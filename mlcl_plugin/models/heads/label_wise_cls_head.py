# SPDX-License-Identifier: Apache-2.0
"""Classify every label from its own embedding, with contrast on request."""

from collections.abc import Callable, Sequence

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ..utils import ContrastiveProjector, LabelWiseLinear, LabelWiseScale
from ..utils.gather import RaggedGather
from .partial_label_head import PartialLabelHead

KeyMaker = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@MODELS.register_module()
class LabelWiseClsHead(PartialLabelHead):
    r"""Head on label-wise embeddings: one linear unit per label.

    Logits are :math:`s_{bl} = w_l \cdot g_{bl} + b_l`. With a contrastive loss,
    the embeddings of the labels that are present, and only these, pass through
    a shared projector into that loss; every view in the batch takes part. A loss that
    has a method ``select`` says which embeddings it needs instead, see
    :class:`WithinLabelContrastiveLoss`. :class:`ImageLevelContrastiveLoss` contrasts
    whole images: it gets the mean of all label embeddings of each.

    Unknown labels (-1) take part in no loss: they get no gradient, do not count
    in the mean, are neither anchors nor in any denominator.

    With ``num_groups``, labels share the embeddings of G groups. Logits are
    :math:`w_l \cdot g_{b,g(l)} + b_l`, see :class:`LabelWiseLinear`. What enters the
    contrastive loss is :math:`g_{b,g(l)} \odot s_l`, with a learned factor for every
    label and channel that starts as random signs, see :class:`LabelWiseScale`: labels
    of one group would have one embedding otherwise. Groups of one label have no such
    factors.

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
        loss_contrastive (dict, optional): Config of the contrastive loss. None
            trains with the classification loss only and has no projector.
            Defaults to None.
        projector (dict): Arguments of the projector: ``hidden_channels`` (None:
            ``in_channels``) and ``out_channels``. Defaults to MulCon's
            ``dict(out_channels=128)``.
        min_contrast_size (int): If fewer label embeddings are present in the
            batch, the embeddings of absent labels with the largest logits fill
            up the denominators of the contrastive loss to this number (hardest
            negatives). They are no anchors. The batch is that of all processes, if
            the loss contrasts across them. 0 turns it off. Defaults to 0.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` wins over it; without both, ``thr`` is 0.5.
        num_groups (int, optional): Number of groups G of the neck, where it decodes
            groups of labels. None expects an embedding for every label.
            Defaults to None.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            N(0, 0.02) with zero bias for all linear layers, as MulCon.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1024,
        loss: dict = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
        loss_contrastive: dict | None = None,
        projector: dict = dict(out_channels=128),  # noqa: B006
        min_contrast_size: int = 0,
        thr: float | None = None,
        topk: int | None = None,
        num_groups: int | None = None,
        init_cfg: dict | list | None = (
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
        self.classifier = LabelWiseLinear(num_classes, in_channels, num_groups)
        self.projector = None
        self.label_scale = None
        self.contrastive_module = None
        if loss_contrastive is not None:
            if not isinstance(loss_contrastive, nn.Module):
                loss_contrastive = MODELS.build(loss_contrastive)
            self.contrastive_module = loss_contrastive
            self.projector = ContrastiveProjector(in_channels, **projector)
            of_pairs = not hasattr(loss_contrastive, 'select') and not getattr(
                loss_contrastive, 'whole_images', False
            )
            if min_contrast_size and not of_pairs:
                raise ValueError(
                    f'{type(loss_contrastive).__name__} takes no further negatives, '
                    f'got min_contrast_size={min_contrast_size}. Set it to 0.'
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

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, L)`` of embeddings ``(B, L, D)`` or ``(B, G, D)``."""
        return self.classifier(self.pre_logits(feats))

    def loss(
        self,
        feats: Sequence[torch.Tensor],
        data_samples: list[DataSample],
        make_keys: KeyMaker | None = None,
        **kwargs,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch.

        Args:
            feats (Sequence[Tensor]): The neck's output, last item ``(B, L, D)`` or
                ``(B, G, D)``.
            data_samples (list[DataSample]): B samples with ``gt_score`` (1
                present, 0 absent, -1 unknown) or ``gt_label`` (indices).
            make_keys (Callable, optional): Gives, for the ``(N,)`` images and labels
                that are present, ``(N, P)`` projections of a momentum encoder, which
                the memory of the contrastive loss keeps in place of those of this
                head. Defaults to None.
            **kwargs: Passed on to the classification loss.

        Returns:
            dict[str, Tensor]: ``loss_cls`` and, with contrast,
            ``loss_contrastive``, both already weighted.

        Raises:
            ValueError: If a target is malformed, see
                :func:`mlcl_plugin.models.utils.collect_targets`.
        """
        embeddings = self.pre_logits(feats)
        logits = self.classifier(embeddings)
        targets = self.collect_targets(data_samples, logits)
        losses = dict(loss_cls=self.classification_loss(logits, targets, **kwargs))
        if self.contrastive_module is not None:
            losses['loss_contrastive'] = self._contrastive_loss(
                embeddings, logits, targets, make_keys
            )
        return losses

    def _contrastive_loss(
        self,
        embeddings: torch.Tensor,
        logits: torch.Tensor,
        targets: torch.Tensor,
        make_keys: KeyMaker | None = None,
    ) -> torch.Tensor:
        """Contrast the projections of the labels that the loss asks for."""
        extra = {}
        if getattr(self.contrastive_module, 'whole_images', False):
            images = torch.arange(len(embeddings), device=embeddings.device)
            if make_keys is not None:
                extra['keys'] = make_keys(images, None)
            return self.contrastive_module(
                self.project(embeddings, images, None), targets, **extra
            )
        if hasattr(self.contrastive_module, 'select'):
            images, labels = self.contrastive_module.select(targets).nonzero(
                as_tuple=True
            )
            extra['present'] = targets[images, labels] == 1
        else:
            images, labels = (targets == 1).nonzero(as_tuple=True)
        if self.min_contrast_size:
            hardest = self._hardest_absent(logits, targets, len(labels))
            extra['negatives'] = self.project(
                embeddings, hardest // self.num_classes, hardest % self.num_classes
            )
        if make_keys is not None:
            extra['keys'] = make_keys(images, labels)
        return self.contrastive_module(
            self.project(embeddings, images, labels), labels, **extra
        )

    def _hardest_absent(
        self, logits: torch.Tensor, targets: torch.Tensor, num_present: int
    ) -> torch.Tensor:
        """Places in ``(B, L)``, flattened, of the hardest negatives that are missing.

        Of several processes each gets its own among the hardest of all.
        """
        absent = (targets == 0).flatten()
        across = getattr(self.contrastive_module, 'across_processes', False)
        if across:
            num_present = RaggedGather(num_present, logits.device).total
        missing = max(self.min_contrast_size - num_present, 0)
        values, places = (
            logits.detach()
            .flatten()
            .where(absent, -torch.inf)
            .topk(min(missing, int(absent.sum())))
        )
        if across:
            gather = RaggedGather(len(values), values.device)
            # All processes sort alike, ties by rank.
            order = gather.all(values).argsort(descending=True, stable=True)[:missing]
            first = sum(gather.counts[: gather.rank])
            order = order[(order >= first) & (order < first + len(values))]
            places = places[order - first]
        return places

    def project(
        self,
        embeddings: torch.Tensor,
        images: torch.Tensor,
        labels: torch.Tensor | None,
    ) -> torch.Tensor:
        """Project the embeddings of chosen labels only.

        Args:
            embeddings (Tensor): ``(B, L, D)``, of groups ``(B, G, D)``.
            images (Tensor): ``(N,)`` the image of each chosen label.
            labels (Tensor, optional): ``(N,)`` the label. None takes the mean of all
                embeddings of the image.

        Returns:
            Tensor: ``(N, P)`` unit vectors.
        """
        if labels is None:
            return self.projector(embeddings[images].mean(dim=1))
        chosen = embeddings[images, labels // self.classifier.group_size]
        if self.label_scale is not None:
            chosen = self.label_scale(chosen, labels)
        return self.projector(chosen)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Ignore what only contrast needs where this head has none.

        Projector, factors of labels that share an embedding, the memory of the loss,
        and prototypes and memory of a ``SADCLHead`` serve training with contrast only,
        so a model without contrast takes such a checkpoint as it is.
        """
        if self.projector is None:
            parts = ('projector', 'label_scale', 'contrastive_module')
            surplus = (
                *(f'{prefix}{name}.' for name in parts),
                *(f'{prefix}{name}' for name in ('prototypes', 'memory_bits')),
            )
            for key in [k for k in state_dict if k.startswith(surplus)]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
