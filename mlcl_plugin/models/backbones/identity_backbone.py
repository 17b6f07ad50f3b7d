# SPDX-License-Identifier: Apache-2.0
"""The backbone of inputs that are features already."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS


@MODELS.register_module()
class IdentityBackbone(BaseModule):
    """Return a batch as it is, as the features of a single stage.

    It serves features that were made beforehand, such as those of
    :class:`mlcl_plugin.datasets.FeatureVectors`. They pass through neck and head of an
    ``ImageClassifier`` like those of any backbone. It has no parameters.

    Args:
        init_cfg (dict | list, optional): Initialization config. Defaults to None.
    """

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Return ``x`` of any shape as a tuple of one, which necks and heads expect."""
        return (x,)
