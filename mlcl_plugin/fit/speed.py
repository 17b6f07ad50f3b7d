# SPDX-License-Identifier: Apache-2.0
"""Measure how fast this machine is, and choose a recipe that fits a time."""

import math
import time
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from ..engine import step_config, step_names
from .recipe import Recipe, second_epochs

OVERHEAD = 15.0
"""Seconds of a fit that depend on nothing: building, tables, pictures."""
MOST_VIEWS = 8
VIEWS_SHARE = 0.6
"""Share of the time for features; the rest is for training."""
BATCH = 8


class Speed(NamedTuple):
    """Seconds per view of an image, and per iteration of step 1 for one image."""

    view: float
    iteration: float


def measure_speed(cfg: Config, device: str) -> Speed:
    """Run the model of a config on images of noise.

    Args:
        cfg (Config): The config of the fit.
        device (str): Where to run.

    Returns:
        Speed: For images of the size of the test pipeline.
    """
    plain = step_config(cfg, step_names(cfg)[0])
    config = deepcopy(plain.model)
    config.backbone.pop('init_cfg', None)
    model = MODELS.build(config).to(device)
    size = plain.test_dataloader.dataset.pipeline[1]['scale']
    images = torch.rand(BATCH, 3, *size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    model.backbone.eval()
    with torch.no_grad():
        features = model.backbone(images)
        begin = time.monotonic()
        features = model.backbone(images)
        _wait(device)
        view = (time.monotonic() - begin) / BATCH
    seconds = []
    for _ in range(3):
        begin = time.monotonic()
        logits = model.head(model.neck(features))
        logits.square().mean().backward()
        _wait(device)
        seconds.append((time.monotonic() - begin) / BATCH)
    return Speed(view, min(seconds))


def _wait(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def fit_time(
    recipe: Recipe, seconds: float, speed: Speed, num_train: int, num_other: int
) -> tuple[Recipe, float]:
    """Change views and epochs of a recipe so that it takes about a given time.

    Args:
        recipe (Recipe): The recipe without a limit.
        seconds (float): The time.
        speed (Speed): Of this machine.
        num_train (int): Number of training images.
        num_other (int): Number of validation and test images.

    Returns:
        tuple[Recipe, float]: The recipe, and the seconds that it takes by estimate. Its
        least is one view and two epochs, however short the time.
    """
    fixed = OVERHEAD + 2 * num_other * speed.view
    left = max(seconds - fixed, 0.0)
    if recipe.kind == 'frozen':
        views = math.floor(VIEWS_SHARE * left / (num_train * speed.view)) - 1
        recipe = replace(recipe, num_views=min(max(views, 2), MOST_VIEWS))
        fixed += num_train * (recipe.num_views + 1) * speed.view
        epoch = num_train * speed.iteration
    else:
        # Forward and backward through the whole network.
        epoch = num_train * (3 * speed.view + speed.iteration)
    left = max(seconds - fixed, 0.0)
    # An epoch of step 2 has two views.
    first = math.floor(left / epoch / 1.5)
    first = min(max(first, 2), 2 * recipe.epochs[0])
    second = second_epochs(first)
    recipe = replace(recipe, epochs=(first, second))
    return recipe, fixed + (first + 2 * second) * epoch
