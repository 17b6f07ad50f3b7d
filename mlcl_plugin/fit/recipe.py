# SPDX-License-Identifier: Apache-2.0
"""Choose how to train, by the number of images, the device and the time."""

import math
from dataclasses import dataclass

import torch

from .options import FitOptions
from .split_data import Parts

BATCH = 32
ITERATIONS = 150
"""Iterations of step 1 on small data."""
LEAST_EPOCHS, MOST_EPOCHS = 4, 40
STEP2_SHARE = 0.25
"""Epochs of step 2 for each of step 1."""
VIEWS = 2
"""Random views of each image that features are computed for."""
IMAGE_SIZE = {'frozen': 320, 'full': 224}
VIEW_SHARE = 0.7
"""Size of a random view of the frozen recipe, as a share of that of the test."""
SMALL_WEIGHTS = (0.0, 0.05, 0.05, 0.9)
LARGE_WEIGHTS = (0.2, 0.35, 0.2, 0.25)
LARGE_FROM = 1000
"""Training images from which on the head has learned enough to lead the blend."""
TUNED_BELOW = 500
"""Training images below which a cross-validation of the regression takes seconds."""
FULL_FROM = 2000
"""Images from which on a GPU trains the whole network."""
FULL_EPOCHS = 10


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        kind (str): ``'frozen'`` for neck and head on features that are computed once,
            ``'full'`` for the whole network.
        epochs (tuple[int, int]): Of both steps.
        batch_size (int): Images of a batch.
        num_views (int): Random views of each image; 0 draws them anew each time.
        image_size (int): Width and height of the images that are tested.
        contrast (bool): Whether step 2 has the contrastive loss.
        device (str): Where to train.
        num_images (int): Number of training images.
    """

    kind: str
    epochs: tuple[int, int]
    batch_size: int
    num_views: int
    image_size: int
    contrast: bool
    device: str
    num_images: int

    @property
    def tunes_regression(self) -> bool:
        """bool: Whether cross-validation chooses the strength of the regression."""
        return self.num_images < TUNED_BELOW

    @property
    def weights(self) -> tuple[float, ...]:
        """tuple[float, ...]: Of head, both neighbours and regression in the blend."""
        return SMALL_WEIGHTS if self.num_images < LARGE_FROM else LARGE_WEIGHTS

    @property
    def view_size(self) -> int:
        """int: Width and height of random views.

        Things are larger in random crops, so that a frozen network sees those of a
        smaller size at the scale of the test.
        """
        if self.kind == 'full':
            return self.image_size
        return max(32, round(VIEW_SHARE * self.image_size / 32) * 32)

    @property
    def text(self) -> str:
        """str: The recipe in one line."""
        loss = 'contrast' if self.contrast else 'no contrast'
        text = f'{self.epochs[0]} + {self.epochs[1]} epochs, {loss}'
        if self.kind == 'full':
            return f'whole network; {text}'
        return f'frozen backbone, {self.num_views} random views of each image; {text}'


def second_epochs(first: int) -> int:
    """Epochs of step 2 after so many of step 1."""
    return max(1, round(STEP2_SHARE * first))


def find_device(device: str | None) -> str:
    """The device to train on: a GPU, if there is one.

    Raises:
        ValueError: If the one that is asked for does not exist.
    """
    if device is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"There is no device='{device}' here: {str(error).splitlines()[0]}"
        ) from error
    return device


def choose_recipe(options: FitOptions, parts: Parts) -> Recipe:
    """Choose how to train.

    Args:
        options (FitOptions): What the user wants.
        parts (Parts): The photographs.

    Returns:
        Recipe: With few images or without a GPU the frozen one.
    """
    device = find_device(options.device)
    number = len(parts.parts['train'].images)
    kind = options.recipe
    if kind == 'auto':
        large = device != 'cpu' and number >= FULL_FROM
        kind = 'full' if large else 'frozen'
    batch = min(BATCH, number)
    first = options.epochs
    if first is None:
        first = FULL_EPOCHS
        if kind == 'frozen':
            per_epoch = math.ceil(number / batch)
            first = math.ceil(ITERATIONS / per_epoch)
            first = min(max(first, LEAST_EPOCHS), MOST_EPOCHS)
    return Recipe(
        kind,
        (first, second_epochs(first)),
        batch,
        VIEWS if kind == 'frozen' else 0,
        options.image_size or IMAGE_SIZE[kind],
        not options.plain,
        device,
        number,
    )
