# SPDX-License-Identifier: Apache-2.0
"""Mixed precision on CPUs, where MMEngine's AmpOptimWrapper refuses to start."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass in bfloat16 autocast, without loss scaling.

    MMEngine's ``AmpOptimWrapper`` needs a GPU. bfloat16 has the range of float32, so
    its gradients need no scaler. CPUs with AVX512-BF16 or AMX have instructions for
    bfloat16 products; measure how much they speed up a training. Weights, their
    gradients and the optimizer's state stay in float32.

    :func:`enable_amp` chooses this wrapper on a machine without a GPU. Arguments are
    those of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast on the device of ``model``, inside the context of the base class.

        Args:
            model (nn.Module): The model to train.
        """
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
