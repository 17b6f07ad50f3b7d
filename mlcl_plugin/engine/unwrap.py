# SPDX-License-Identifier: Apache-2.0
"""The model inside of wrappers."""

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """Take a model out of wrappers for several processes or test-time augmentation.

    Args:
        model (nn.Module): A model, such as that of a runner.

    Returns:
        nn.Module: The model itself if it has no wrapper.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule('module')
    return model
