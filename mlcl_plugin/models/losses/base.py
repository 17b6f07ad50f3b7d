# SPDX-License-Identifier: Apache-2.0
"""What contrastive losses have in common, and what each kind of them consumes."""

import math
from numbers import Real
from typing import Any

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...targets import is_absent, is_present
from .contrast_inputs import ContrastInputs


def check_temperature(temperature: float, name: str = 'temperature') -> None:
    """Raise a ``ValueError`` unless a temperature is positive and finite."""
    number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ValueError(
            f'{name} must be a positive, finite number, got {temperature!r}.'
        )


def check_loss_weight(loss_weight: float) -> None:
    """Raise a ``ValueError`` unless a weight is finite and not negative."""
    if not 0 <= loss_weight < math.inf:
        raise ValueError(
            f'loss_weight must be finite and not negative, got {loss_weight}.'
        )


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32 if it is float16 or bfloat16; else ``x`` itself."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class TemperatureLoss(nn.Module):
    """Base of losses that divide similarities by a temperature.

    Args:
        temperature (float): Divisor of the similarities, > 0.
        loss_weight (float): Weight of the loss. Defaults to 1.0.

    Raises:
        ValueError: If ``temperature`` is not positive or ``loss_weight`` is negative.
    """

    def __init__(self, temperature: float, loss_weight: float = 1.0):
        super().__init__()
        check_temperature(temperature)
        check_loss_weight(loss_weight)
        self.temperature = temperature
        self.loss_weight = loss_weight

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return f'temperature={self.temperature}, loss_weight={self.loss_weight}'


class Memory(nn.Module):
    """Base of memories: embeddings of earlier batches, with labels or targets."""

    def read(self) -> tuple[Tensor, Tensor] | None:
        """Embeddings ``(K, P)`` and their labels ``(K,)`` or targets ``(K, L)``.

        None before the memory is to be used.
        """
        raise NotImplementedError

    def write(self, embeddings: Tensor, labels: Tensor, /) -> None:
        """Add a batch, that of all processes of a run.

        Args:
            embeddings (Tensor): ``(N, P)``, of this process.
            labels (Tensor): ``(N,)`` labels or ``(N, L)`` targets.
        """
        raise NotImplementedError


class ContrastiveLoss(TemperatureLoss):
    """Base of the contrastive losses that a head takes as ``loss_contrastive``.

    A head calls :meth:`contrast` with a :class:`ContrastInputs`. Three kinds of losses
    implement it:

    - :class:`PresentLabelContrast` consumes the embeddings of present labels;
    - :class:`KnownLabelContrast` consumes those of known labels;
    - :class:`ImageContrast` consumes one embedding per image.

    A loss derives from one of them and writes :meth:`compute`. ``docs/extend.md`` shows
    a complete one.

    Args:
        temperature (float): Divisor of the similarities, > 0.
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        across_processes (bool): Contrast the embeddings of all processes of a run. A
            loss that sets it gathers them in :meth:`compute`. Defaults to False.
        memory (dict, optional): Config of a memory of earlier batches. A loss that
            sets it calls :meth:`recall` and :meth:`remember` in :meth:`compute`.
            Defaults to None.

    Raises:
        ValueError: If ``temperature`` is not positive, ``loss_weight`` is negative, or
            the class takes negatives that its kind does not pass.
    """

    consumes = 'what it chooses'
    """What the loss consumes, for messages."""

    takes_negatives = False
    """Whether :meth:`compute` takes ``negatives``, see ``min_contrast_size``."""

    passes_negatives = True
    """Whether :meth:`contrast` passes ``negatives`` to a loss that takes them."""

    compute_arguments = 'embeddings, ...'
    """What :meth:`compute` gets, for messages."""

    def __init__(
        self,
        temperature: float,
        loss_weight: float = 1.0,
        across_processes: bool = False,
        memory: dict | None = None,
    ):
        super().__init__(temperature, loss_weight)
        if self.takes_negatives and not self.passes_negatives:
            raise ValueError(
                f'{type(self).__name__} sets takes_negatives=True, but it contrasts '
                f'{self.consumes} and gets no negatives. Leave it out, or derive from '
                'PresentLabelContrast.'
            )
        self.across_processes = across_processes
        self.memory: Memory | None = None if memory is None else MODELS.build(memory)

    def contrast(self, inputs: ContrastInputs) -> Tensor:
        """Weighted loss of a batch, a scalar."""
        raise NotImplementedError(
            f'{type(self).__name__} has no contrast(inputs). Derive from '
            'PresentLabelContrast, KnownLabelContrast or ImageContrast, or write it.'
        )

    def compute(self, embeddings: Tensor, /, *args: Any, **kwargs: Any) -> Tensor:
        """The loss without its weight; a subclass writes it.

        Args:
            embeddings (Tensor): Unit vectors of at least float32; autocast is off.
            *args: What the kind of the loss says.
            **kwargs: What the kind of the loss says.

        Returns:
            Tensor: A scalar.
        """
        raise NotImplementedError(
            f'{type(self).__name__} has no compute({self.compute_arguments}), the loss '
            'without its weight. Write it, see docs/extend.md.'
        )

    def forward(self, embeddings: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Weighted loss, computed in float32 under any autocast (float64 stays).

        Args:
            embeddings (Tensor): Unit vectors, one per row.
            *args: Passed on to :meth:`compute`.
            **kwargs: Passed on to :meth:`compute`.

        Returns:
            Tensor: A scalar.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            loss = self.compute(at_least_float32(embeddings), *args, **kwargs)
            return self.loss_weight * loss

    def recall(self) -> tuple[Tensor, Tensor] | None:
        """Embeddings in memory and their labels or targets; None if there are none."""
        return None if self.memory is None else self.memory.read()

    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """In training, write a batch into the memory, if there is one.

        Args:
            embeddings (Tensor): ``(N, P)``, the keys if there are any.
            labels (Tensor): ``(N,)`` labels, or ``(N, L)`` targets of images.
        """
        if self.memory is not None and self.training:
            self.memory.write(embeddings, labels)

    def extra_repr(self) -> str:
        """The options, for ``repr``."""
        return f'{super().extra_repr()}, across_processes={self.across_processes}'


class PresentLabelContrast(ContrastiveLoss):
    """Contrast of the embeddings of present labels.

    ``compute(embeddings, labels)`` gets unit vectors ``(N, P)`` of the present labels
    of all images and their labels ``(N,)``. ``SADCLHead`` does without
    :meth:`contrast`: it calls ``loss(embeddings, labels)`` with embeddings of its own
    memory among them. Two more arguments come only where they are asked for:

    - ``negatives``: ``(M, P)`` unit vectors of absent labels, if ``takes_negatives``
      and the head has ``min_contrast_size``;
    - ``keys``: ``(N, P)`` unit vectors of the same labels from a momentum encoder, if
      the loss has a memory and the model is a :class:`MomentumClassifier`.
    """

    consumes = 'the embeddings of present labels'
    compute_arguments = 'embeddings, labels'

    def contrast(self, inputs: ContrastInputs) -> Tensor:
        """Weighted loss of the present labels of a batch, a scalar."""
        images, labels = is_present(inputs.targets).nonzero(as_tuple=True)
        extra = {}
        if inputs.min_size:
            negatives = inputs.hardest_absent(len(labels), self.across_processes)
            extra['negatives'] = inputs.projections.labels(*negatives)
        keys = inputs.label_keys(images, labels)
        if keys is not None:
            extra['keys'] = keys
        return self(inputs.projections.labels(images, labels), labels, **extra)


class KnownLabelContrast(ContrastiveLoss):
    """Contrast of the embeddings of known labels, present or absent.

    ``compute(embeddings, labels, present)`` gets unit vectors ``(N, P)``, their labels
    ``(N,)`` and whether these are present, ``(N,)`` bool. :meth:`select` chooses the
    embeddings. ``keys``, ``(N, P)`` unit vectors of the same labels from a momentum
    encoder, come too if the loss has a memory and the model is a
    :class:`MomentumClassifier`. There are no ``negatives``, since absent labels are
    among the known ones. Soft targets, as Mixup makes, are neither present nor absent:
    such entries are not selected.
    """

    consumes = 'the embeddings of known labels'
    compute_arguments = 'embeddings, labels, present'
    passes_negatives = False

    takes_images = False
    """Whether :meth:`compute` takes ``images``, ``(N,)`` int64: the number of the image
    of each embedding, which views of an image share."""

    def select(self, targets: Tensor) -> Tensor:
        """Choose the embeddings to contrast: by default those of all known labels.

        Args:
            targets (Tensor): ``(B, L)`` in {1, 0, -1}, or soft.

        Returns:
            Tensor: ``(B, L)`` bool.
        """
        return is_present(targets) | is_absent(targets)

    def contrast(self, inputs: ContrastInputs) -> Tensor:
        """Weighted loss of the selected labels of a batch, a scalar."""
        images, labels = self.select(inputs.targets).nonzero(as_tuple=True)
        present = is_present(inputs.targets[images, labels])
        keys = inputs.label_keys(images, labels)
        extra = {} if keys is None else dict(keys=keys)
        if self.takes_images:
            extra['images'] = inputs.image_numbers()[images]
        return self(inputs.projections.labels(images, labels), labels, present, **extra)


class ImageContrast(ContrastiveLoss):
    """Contrast of whole images.

    ``compute(embeddings, targets, keys)`` gets unit vectors ``(B, P)``, targets
    ``(B, L)``, and unit vectors ``(B, P)`` of a momentum encoder or None. There are no
    ``negatives``, which are embeddings of labels.
    """

    consumes = 'whole images'
    compute_arguments = 'embeddings, targets, keys'
    passes_negatives = False

    def contrast(self, inputs: ContrastInputs) -> Tensor:
        """Weighted loss of the images of a batch, a scalar."""
        keys = inputs.image_keys()
        return self(inputs.projections.images(), inputs.targets, keys=keys)
