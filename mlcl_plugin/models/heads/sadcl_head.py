# SPDX-License-Identifier: Apache-2.0
"""Contrast label embeddings with a memory and with prototypes."""

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ...targets import is_present
from ..losses.base import PresentLabelContrast
from ..losses.contrast_inputs import Projections
from ..losses.prototype_contrastive_loss import PrototypeContrastiveLoss
from ..utils import build_loss
from .label_wise_cls_head import LabelWiseClsHead


@MODELS.register_module()
class SADCLHead(LabelWiseClsHead):
    r"""Head of SADCL: contrast between samples, and between samples and prototypes.

    Logits are those of :class:`LabelWiseClsHead`. The losses are the classification
    loss and

    - ``loss_contrastive``: the label-level contrast of :class:`LabelWiseClsHead`
      over the projections of the present labels of two views. The first view is the
      images. The second is the memory: slot b holds an embedding for every label, of
      which those of the present labels of image b count, whatever image they come
      from;
    - ``loss_prototype``: :class:`PrototypeContrastiveLoss` between the projections of
      all labels and of the prototypes, one learned vector per label.

    One projector serves embeddings, memory and prototypes. After the losses of a
    training batch, the embedding of image b replaces that of slot b for each label
    that is present and whose score exceeds ``memory_thr``. The memory carries no
    gradient. A batch of fewer images than slots leaves the other slots as they are;
    images beyond the last slot have no second view.

    Prototypes and memory start from N(0, 1), or from the embeddings of a trained
    network: :class:`PrototypeInitHook`.

    Unknown labels (-1) take part in no loss.

    Every process has a memory of its own, and both contrasts are those of one process,
    as in the method. DDP must not share buffers (``broadcast_buffers=False``, which
    MMEngine sets), or all processes would have the memory of the first. A checkpoint
    holds the memory of the first process, and all processes resume with it. The memory
    is kept as the bits of float32, since an EMA would average float buffers.

    Source: `SADCL <https://arxiv.org/abs/2307.09715>`_. The method weighs its losses
    1000 (a mean binary cross-entropy), 100 and 50; the defaults here are the same
    relative to 1. Deviations:

    - The contrast between samples follows the formula. The published code counts an
      anchor only where a second, unrelated image of the batch has its label as well,
      and adds 1e-5 to a denominator; no option does that here.
    - The published code clamps probabilities at 1e-5, so that a logit which is wrong by
      more has no gradient; the binary cross-entropy here does not.
    - Batches need not have the size of the memory.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Width D of a label's embedding. Defaults to 2048.
        loss (dict): Config of the classification loss, see
            :class:`LabelWiseClsHead`. Defaults to binary cross-entropy.
        loss_reduction (str): ``'mean'``, ``'batch'`` or ``'sum'``, see
            :class:`LabelWiseClsHead`. Defaults to ``'mean'``.
        loss_contrastive (dict): Config of the contrast between samples. Defaults to
            :class:`LabelWiseContrastiveLoss` at temperature 0.2 with the weight 0.1,
            within each process.
        loss_prototype (dict): Config of the contrast with prototypes. Defaults to
            :class:`PrototypeContrastiveLoss` at temperature 0.07 with the weight 0.05.
        projector (dict, optional): Arguments of the projector: ``hidden_channels``
            (None: ``in_channels``) and ``out_channels``. None contrasts the embeddings
            themselves. Defaults to ``dict(out_channels=1024)``.
        num_slots (int): Slots of the memory: the images that a process has in a batch,
            all views counted. Defaults to 32.
        memory_thr (float): Score above which an embedding is remembered.
            Defaults to 0.8.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` has priority over it; without both, ``thr`` is 0.5.
        dropout (float): Share of the numbers of an embedding that the classifier
            does not see in training, see :class:`ContrastiveHead`. Contrast sees all.
            Defaults to 0.
        init_cfg (dict | list, optional): Initialization config. Defaults to
            N(0, 0.02) with zero bias for all linear layers.

    Raises:
        ValueError: If an option has a value outside its range, a contrast is missing,
            or ``loss_contrastive`` has a memory of its own or contrasts something else
            than the embeddings of present labels, or ``loss_prototype`` is no
            :class:`PrototypeContrastiveLoss`.
    """

    training_only = ('prototypes', 'memory_bits')

    accepts = PresentLabelContrast

    memory_bits: torch.Tensor
    contrastive_module: PresentLabelContrast

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 2048,
        loss: dict = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
        loss_contrastive: dict = dict(  # noqa: B006
            type='LabelWiseContrastiveLoss',
            temperature=0.2,
            loss_weight=0.1,
            across_processes=False,
        ),
        loss_prototype: dict = dict(  # noqa: B006
            type='PrototypeContrastiveLoss', temperature=0.07, loss_weight=0.05
        ),
        projector: dict | None = dict(out_channels=1024),  # noqa: B006
        num_slots: int = 32,
        memory_thr: float = 0.8,
        thr: float | None = None,
        topk: int | None = None,
        dropout: float = 0.0,
        init_cfg: dict | list | tuple | None = (
            dict(
                type='Normal', layer=['Linear', 'LabelWiseLinear'], std=0.02, bias=0.0
            ),
        ),
    ):
        if loss_contrastive is None or loss_prototype is None:
            raise ValueError(
                'SADCLHead needs loss_contrastive and loss_prototype, got None. Set '
                'loss_weight=0 to do without one, or use LabelWiseClsHead.'
            )
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            loss=loss,
            loss_reduction=loss_reduction,
            loss_contrastive=loss_contrastive,
            projector=projector,
            thr=thr,
            topk=topk,
            dropout=dropout,
            init_cfg=init_cfg,
        )
        if num_slots < 1:
            raise ValueError(f'num_slots must be positive, got {num_slots}.')
        if not 0 <= memory_thr <= 1:
            raise ValueError(f'memory_thr must lie between 0 and 1, got {memory_thr}.')
        if self.contrastive_module.memory is not None:
            raise ValueError(
                'SADCLHead has a memory of its own. Leave out loss_contrastive.memory, '
                'or use LabelWiseClsHead.'
            )
        self.prototype_module = build_loss(
            loss_prototype, PrototypeContrastiveLoss, 'loss_prototype of SADCLHead'
        )
        self.memory_thr = memory_thr
        self.prototypes = nn.Parameter(torch.empty(num_classes, in_channels))
        self.register_buffer(
            'memory_bits',
            torch.empty(num_slots, num_classes, in_channels, dtype=torch.int32),
        )
        self.reset_prototypes(torch.randn(num_classes, in_channels))

    @property
    def memory(self) -> torch.Tensor:
        """Tensor: The embeddings ``(slots, L, D)`` in memory, float32."""
        return self.memory_bits.view(torch.float32)

    @torch.no_grad()
    def reset_prototypes(self, prototypes: torch.Tensor) -> None:
        """Set the prototypes, and every slot of the memory to them.

        Args:
            prototypes (Tensor): ``(L, D)``.

        Raises:
            ValueError: If they have another shape.
        """
        if prototypes.shape != self.prototypes.shape:
            raise ValueError(
                f'Expected prototypes (num_classes, in_channels)='
                f'{tuple(self.prototypes.shape)}, got {tuple(prototypes.shape)}.'
            )
        self.prototypes.copy_(prototypes)
        self.memory.copy_(prototypes)

    def contrast_losses(
        self,
        embeddings: torch.Tensor,
        logits: torch.Tensor,
        targets: torch.Tensor,
        keys: Projections | None = None,
        images: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of contrast and, in training, remember the batch.

        Args:
            embeddings (Tensor): ``(B, L, D)``.
            logits (Tensor): ``(B, L)``.
            targets (Tensor): ``(B, L)``.
            keys (None): The head has no use for them.
            images (None): Neither for these.

        Returns:
            dict[str, Tensor]: ``loss_contrastive`` and ``loss_prototype``, already
            weighted.
        """
        projections = self.to_sphere(embeddings)
        losses = dict(
            loss_contrastive=self._contrast_with_memory(projections, targets),
            loss_prototype=self.prototype_module(
                projections, self.to_sphere(self.prototypes), targets
            ),
        )
        if self.training:
            self._remember(embeddings, logits, targets)
        return losses

    def _contrast_with_memory(
        self, projections: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Contrast the present labels of the images ``(B, L, P)`` and of the slots."""
        images, labels = is_present(targets).nonzero(as_tuple=True)
        in_memory = images < len(self.memory_bits)
        slots, slot_labels = images[in_memory], labels[in_memory]
        remembered = self.memory[slots, slot_labels].to(self.prototypes.dtype)
        return self.contrastive_module(
            torch.cat([projections[images, labels], self.to_sphere(remembered)]),
            torch.cat([labels, slot_labels]),
        )

    @torch.no_grad()
    def _remember(
        self, embeddings: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor
    ) -> None:
        """Keep the embeddings of present labels whose score is high enough."""
        sure = is_present(targets) & (logits.float().sigmoid() > self.memory_thr)
        slots, labels = sure[: len(self.memory_bits)].nonzero(as_tuple=True)
        self.memory[slots, labels] = embeddings[slots, labels].float()
