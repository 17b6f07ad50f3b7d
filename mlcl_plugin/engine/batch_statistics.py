# SPDX-License-Identifier: Apache-2.0
"""The statistics of batch norm in several processes."""

from collections.abc import Iterable

import torch
from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn

from .unwrap import unwrap_model

STATISTICS = ('running_mean', 'running_var')
"""Names of the buffers in normalization layers of torch and timm."""


@torch.no_grad()
def average_statistics(models: Iterable[nn.Module]) -> None:
    """Set the running statistics of batch norm to their mean over the processes.

    Each process has statistics of the images that it has seen; a checkpoint holds those
    of the first process. With the mean, all processes are the model of the checkpoint.
    Statistics that are equal stay as they are, to the bit. All processes must call it.

    Other buffers stay as they are: they are equal in all processes, or belong to one.

    Args:
        models (Iterable[nn.Module]): Models of this process.
    """
    if get_world_size() == 1:
        return
    buffers = [
        buffer
        for model in models
        for name, buffer in model.named_buffers()
        if name.rpartition('.')[2] in STATISTICS
    ]
    if not buffers:
        return
    flat = torch.cat([buffer.detach().double().flatten() for buffer in buffers])
    first = flat.clone()
    broadcast(first)
    # The mean of differences from the first, since that of equal values may be another.
    flat -= first
    all_reduce(flat, op='mean')
    flat += first
    for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers])):
        buffer.copy_(mean.view_as(buffer))


def average_statistics_of(runner: Runner) -> None:
    """Average the statistics of a runner's model and of its moving averages.

    Args:
        runner (Runner): The runner, after ``before_run``.
    """
    averages = [h.ema_model for h in runner.hooks if isinstance(h, EMAHook)]
    average_statistics([unwrap_model(runner.model), *averages])
