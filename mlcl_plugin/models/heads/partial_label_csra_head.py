# SPDX-License-Identifier: Apache-2.0
"""Residual attention heads for targets with unknown labels."""

from collections.abc import Sequence

import torch
from mmengine.model import ModuleList
from mmpretrain.models.heads import CSRAClsHead
from mmpretrain.models.heads.multi_label_csra_head import CSRAModule
from mmpretrain.registry import MODELS
from torch import nn

from .partial_label_head import PartialLabelHead


@MODELS.register_module()
class PartialLabelCSRAHead(PartialLabelHead):
    r"""MMPretrain's ``CSRAClsHead``, with this project's handling of targets.

    Every head scores every label at every place of the feature map,
    :math:`s_l = w_l \cdot x / \|w_l\|`, and adds to the mean over places ``lam`` times
    a mean with softmax weights of :math:`T s_l`, for :math:`T = 99` the maximum. The
    logit is the sum over heads, each with another temperature T.

    Source: `CSRA <https://arxiv.org/abs/2108.02456>`_, as MMPretrain has it: modules,
    temperatures, logits and parameter names are the same, so that its checkpoints load.
    Deviations: unknown labels (-1) take part in no loss, the loss averages over known
    entries by default (``loss_reduction='batch'`` is MMPretrain's), and ``init_cfg``
    defaults to None. MMPretrain's default has no effect, since it names linear layers,
    of which there are none.

    Args:
        num_classes (int): Number of labels L.
        in_channels (int): Channels C of the feature map.
        num_heads (int): Number of heads: 1, 2, 4, 6 or 8.
        lam (float): Weight of the attention, > 0.
        loss (dict | nn.Module): The classification loss, or its config, see
            :class:`PartialLabelHead`. Defaults to binary cross-entropy.
        loss_reduction (str): How the entries of ``loss`` are reduced: ``'mean'``,
            ``'batch'`` or ``'sum'``, see :class:`PartialLabelHead`.
            Defaults to ``'mean'``.
        thr (float, optional): Score from which on a label is predicted.
        topk (int, optional): Predict the k labels with the highest scores.
            ``thr`` has priority over it; without both, ``thr`` is 0.5.
        init_cfg (dict | list, optional): Initialization config. Defaults to None,
            which leaves torch's for convolutions.

    Raises:
        ValueError: If an option has a value outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_heads: int,
        lam: float,
        loss: dict | nn.Module = dict(type='BinaryCrossEntropyLoss'),  # noqa: B006
        loss_reduction: str = 'mean',
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
        temperatures = CSRAClsHead.temperature_settings
        if in_channels < 1:
            raise ValueError(
                f'in_channels must be positive, got in_channels={in_channels}.'
            )
        if num_heads not in temperatures:
            raise ValueError(
                f'num_heads must be one of {list(temperatures)}, got {num_heads!r}.'
            )
        if not lam > 0:
            raise ValueError(f'lam must be positive, got {lam}.')
        self.in_channels = in_channels
        self.csra_heads = ModuleList(
            CSRAModule(num_classes, in_channels, temperature, lam)
            for temperature in temperatures[num_heads]
        )

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """The feature map ``(B, C, H, W)`` of the last stage.

        Raises:
            ValueError: If it has another shape.
        """
        features = feats[-1]
        if features.ndim != 4 or features.size(1) != self.in_channels:
            raise ValueError(
                f'The head expects a feature map (B, in_channels={self.in_channels}, '
                f'H, W), got {tuple(features.shape)}. Set neck=None, and in_channels '
                "of the head to the backbone's channels."
            )
        return features

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits ``(B, L)`` of a feature map ``(B, C, H, W)``."""
        features = self.pre_logits(feats)
        return sum(head(features) for head in self.csra_heads)
