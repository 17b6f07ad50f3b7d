# SPDX-License-Identifier: Apache-2.0
"""Classify by a mixture of kernels, and contrast the kernels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ..losses.kernel_contrastive_loss import KernelContrastiveLoss
from ..losses.kernel_reconstruction_loss import KernelReconstructionLoss
from ..utils import build_loss, to_vectors
from .partial_label_head import PartialLabelHead


@MODELS.register_module()
class KMCLHead(PartialLabelHead):
    r"""Head on pooled features with a Gaussian kernel for every class.

    Three linear layers turn the feature :math:`f \in R^M` of an image into, for every
    class :math:`k`, the logit of :math:`\pi_k`, which is also the class's score, the
    mean :math:`\mu_k` and the variance
    :math:`\sigma_k^2 = 2 + 10^{-7} + \mathrm{ELU}(\cdot)` of a kernel. The loss is the
    plain sum of classification, reconstruction of :math:`f` by the kernels of its
    labels, and contrast of the kernels of images that share labels.

    An isotropic kernel has one mean and one variance for all coordinates of
    :math:`f`, an anisotropic one M of each. Unknown labels (-1) take part in no loss.

    Source: `KMCL <https://github.com/mahdihosseini/KMCL>`_. Its training script
    defaults to anisotropic kernels. Deviations: kernels are isotropic by default,
    since anisotropic ones need two layers of M x M x K weights, together 671 M for
    2048 features and 80 classes; see :func:`kernel_contrastive_loss` and
    :func:`kernel_reconstruction_loss` for the deviations of the losses.

    Under any autocast the head computes in the precision of its weights.

    Args:
        num_classes (int): Number of classes K.
        in_channels (int): Width M of the feature.
        anisotropic (bool): Mean and variance for every coordinate. Defaults to False.
        loss (dict): Config of the classification loss, see :class:`PartialLabelHead`.
            Defaults to that of the published loss: ASL with the gammas 1 and 4, the
            margin 0.05 and a gradient through the focal factor. The published
            training script has gamma_pos 0 and no such gradient.
        loss_reduction (str): As in :class:`PartialLabelHead`. Defaults to ``'sum'``,
            as published.
        loss_reconstruction (dict): Config of the reconstruction loss. Defaults to
            :class:`KernelReconstructionLoss`.
        loss_contrastive (dict): Config of the contrastive loss. Defaults to
            :class:`KernelContrastiveLoss` with the published temperature of 0.17.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` has priority over it; without both, ``thr`` is 0.5.
        init_cfg (dict | list, optional): Initialization config. Defaults to None,
            which is torch's initialization.

    Raises:
        ValueError: If an option has a value outside its range, or a loss is of
            another class.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        anisotropic: bool = False,
        loss: dict = dict(  # noqa: B006
            type='StableAsymmetricLoss',
            gamma_pos=1,
            gamma_neg=4,
            clip=0.05,
            detach_focal=False,
        ),
        loss_reduction: str = 'sum',
        loss_reconstruction: dict = dict(  # noqa: B006
            type='KernelReconstructionLoss'
        ),
        loss_contrastive: dict = dict(  # noqa: B006
            type='KernelContrastiveLoss', temperature=0.17
        ),
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(
            num_classes=num_classes,
            loss=loss,
            loss_reduction=loss_reduction,
            thr=thr,
            topk=topk,
            init_cfg=init_cfg,
        )
        if in_channels < 1:
            raise ValueError(f'in_channels must be positive, got {in_channels}.')
        self.in_channels = in_channels
        self.anisotropic = anisotropic
        self.reconstruction_module = build_loss(
            loss_reconstruction,
            KernelReconstructionLoss,
            'loss_reconstruction of KMCLHead',
        )
        self.contrastive_module = build_loss(
            loss_contrastive, KernelContrastiveLoss, 'loss_contrastive of KMCLHead'
        )
        num_kernel_values = num_classes * (in_channels if anisotropic else 1)
        self.fc_pi = nn.Linear(in_channels, num_classes)
        self.fc_mean = nn.Linear(in_channels, num_kernel_values)
        self.fc_variance = nn.Linear(in_channels, num_kernel_values)

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The features ``(B, M)`` of the last stage, in the weights' precision.

        Raises:
            ValueError: If they have another shape.
        """
        x = to_vectors(feats, self.in_channels)
        return x.to(self.fc_pi.weight.dtype)

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, K)`` of features ``(B, M)``."""
        x = self.pre_logits(feats)
        with torch.autocast(x.device.type, enabled=False):
            return self.fc_pi(x)

    def kernels(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and variances of the kernels of features ``(B, M)``.

        Returns:
            tuple[Tensor, Tensor]: ``(B, K)`` each, of anisotropic kernels
            ``(B, M, K)``.
        """
        with torch.autocast(x.device.type, enabled=False):
            means = self.fc_mean(x)
            variances = 2 + 1e-7 + F.elu(self.fc_variance(x))
        if self.anisotropic:
            shape = (self.in_channels, self.num_classes)
            means, variances = means.unflatten(1, shape), variances.unflatten(1, shape)
        return means, variances

    def loss(
        self, feats: Sequence[torch.Tensor], data_samples: list[DataSample], **kwargs
    ) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch.

        Args:
            feats (Sequence[Tensor]): The output of neck or backbone, last item
                ``(B, M)``.
            data_samples (list[DataSample]): B samples with ``gt_score`` (1
                present, 0 absent, -1 unknown) or ``gt_label`` (indices).
            **kwargs: Passed on to the classification loss.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_reconstruction`` and
            ``loss_contrastive``, already weighted.

        Raises:
            ValueError: If the features have another shape or a target is malformed,
                see :func:`mlcl_plugin.models.utils.collect_targets`.
        """
        x = self.pre_logits(feats)
        logits = self((x,))
        means, variances = self.kernels(x)
        targets = self.collect_targets(data_samples, logits)
        return dict(
            loss_cls=self.classification_loss(logits, targets, **kwargs),
            loss_reconstruction=self.reconstruction_module(
                x, logits, means, variances, targets
            ),
            loss_contrastive=self.contrastive_module(
                means, variances, targets, num_dims=self.in_channels
            ),
        )
