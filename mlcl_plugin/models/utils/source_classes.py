# SPDX-License-Identifier: Apache-2.0
"""The classifier that a backbone was pre-trained with."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class SourceClasses(BaseModule):
    r"""Which classes of its pre-training a backbone sees, anywhere in an image.

    With the features :math:`f_i` of :math:`N` places, and the linear classifier
    :math:`W, b` that the backbone was pre-trained with, it gives for each class

    .. math::
        v_c = \sqrt{\frac{1}{N} \sum_{i=1}^{N} \mathrm{softmax}(W f_i + b)_c}

    a vector of length 1. Probabilities of other classes as features: `Torresani,
    Szummer, Fitzgibbon, ECCV 2010 <https://doi.org/10.1007/978-3-642-15549-9_56>`_.
    Deviations: they are taken at each place and then averaged, so that a small object
    counts as much as its places do, and inner products of the square roots compare them
    as distributions.

    The weights are buffers: no optimizer changes them.

    Args:
        in_channels (int): Channels of the features.
        num_classes (int): Classes of the pre-training. Defaults to 1000.
        init_cfg (dict | list, optional): What gives the weights, such as
            ``dict(type='EfficientNetLite0Init')``. Defaults to None: a checkpoint does.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 1000,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg=init_cfg)
        self.register_buffer('weight', torch.zeros(num_classes, in_channels))
        self.register_buffer('bias', torch.zeros(num_classes))

    @property
    def has_weights(self) -> bool:
        """bool: Whether it has got weights."""
        return bool(self.weight.any())

    def forward(self, places: Tensor) -> Tensor:
        """Vectors ``(B, num_classes)`` of features ``(B, in_channels, N)``.

        Raises:
            ValueError: For features with another number of channels.
        """
        return self.pool(self.probabilities(places))

    def probabilities(self, places: Tensor) -> Tensor:
        """Probabilities ``(B, num_classes, N)`` of places ``(B, in_channels, N)``.

        Raises:
            ValueError: For features with another number of channels.
        """
        if places.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f'SourceClasses has in_channels={self.weight.shape[1]}, but the '
                f'backbone gives features of {places.shape[1]} channels.'
            )
        logits = F.linear(places.float().transpose(1, 2), self.weight, self.bias)
        return logits.softmax(2).transpose(1, 2)

    @staticmethod
    def pool(probabilities: Tensor) -> Tensor:
        """Vectors ``(B, num_classes)`` of probabilities ``(B, num_classes, N)``."""
        return probabilities.mean(2).sqrt()

    def extra_repr(self) -> str:
        """The sizes, for ``repr``."""
        classes, channels = self.weight.shape
        return f'in_channels={channels}, num_classes={classes}'
