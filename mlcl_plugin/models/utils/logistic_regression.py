# SPDX-License-Identifier: Apache-2.0
"""Logistic regression of many labels on the same vectors."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...targets import is_known, is_present

MAX_ITERATIONS = 200
TOLERANCE = 1e-4
"""Of the gradient, times the strength if that is below 1."""
LARGE = 10_000_000
"""Numbers from which on single precision is used."""
ROUNDING = 1e-6
"""What single precision loses of a gradient, for each image at a strength of 1."""


class LinearMap(NamedTuple):
    """Logits ``vectors @ weight.T + bias``: ``(L, D)`` and ``(L,)``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Logits ``(N, L)`` of vectors ``(N, D)``."""
        return vectors @ self.weight.T + self.bias


def fit_logistic(vectors: Tensor, targets: Tensor, strength: float) -> LinearMap:
    """Fit a logistic regression for one strength, see :func:`logistic_path`."""
    return next(logistic_path(vectors, targets, [strength]))


def logistic_path(
    vectors: Tensor, targets: Tensor, strengths: Sequence[float]
) -> Iterator[LinearMap]:
    r"""Fit a logistic regression per label for each of several strengths.

    For each label it minimises

    .. math::
        \frac{1}{2} \lVert w \rVert^2 + C \sum_{n\,\text{known}}
        \log(1 + \exp(-y_n (w \cdot x_n + b)))

    with :math:`y_n = \pm 1`, as scikit-learn's ``LogisticRegression`` does. The problem
    is convex; L-BFGS solves that of all labels together, in units in which it is about
    equally curved in all directions. With fewer images than dimensions, it works in the
    space that the images span.

    A label that is present in all known images, or in none, gets weights of 0 and the
    logit of its frequency with one more image of either kind.

    Args:
        vectors (Tensor): ``(N, D)`` :math:`x`. The problem is solved in double
            precision; if they are many and not in double precision themselves, in
            single precision, which takes half the time.
        targets (Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        strengths (Sequence[float]): The values of :math:`C`. Each starts from the
            solution of the one before: rising values take the least time.

    Yields:
        LinearMap: For vectors of the type of ``vectors``, one per strength.

    Raises:
        ValueError: If shapes do not agree or a strength is not positive.
    """
    if vectors.ndim != 2 or targets.ndim != 2 or len(vectors) != len(targets):
        raise ValueError(
            'Logistic regression takes vectors (N, D) and targets (N, L), got '
            f'{tuple(vectors.shape)} and {tuple(targets.shape)}.'
        )
    if min(strengths) <= 0:
        raise ValueError(f'strengths must be positive, got {list(strengths)}.')
    known, present = is_known(targets), is_present(targets)
    positive, total = present.sum(0), known.sum(0)
    able = (positive > 0) & (positive < total)
    x = vectors.detach()
    x = x.float() if x.numel() > LARGE and x.dtype != torch.float64 else x.double()
    bias = torch.log((positive + 1.0) / (total - positive + 1.0)).to(x.dtype)
    signs = torch.where(present, 1.0, -1.0).to(x.dtype)
    mask = (known & able).to(x.dtype)
    mean = x.mean(0)
    x = x - mean
    # About the second derivative of the loss, per image.
    rate = bias.sigmoid()
    curvature = (rate * (1 - rate)).clamp(min=1e-3)
    space = (_Whole if len(x) >= x.shape[1] else _Span)(x, curvature)
    weight = x.new_zeros(space.x.shape[1], targets.shape[1])
    for strength in strengths:
        space.set_strength(strength)
        weight, bias = _minimise(space, signs, mask, strength, weight, bias)
        whole = space.to_whole(weight).T
        yield LinearMap(
            whole.to(vectors.dtype), (bias - whole @ mean).to(vectors.dtype)
        )


class _Whole:
    """All dimensions, in units by a Cholesky factor of the mean second derivative.

    Args:
        x (Tensor): ``(N, D)`` of mean 0.
        curvature (Tensor): ``(L,)`` second derivatives of an image's loss.
    """

    def __init__(self, x: Tensor, curvature: Tensor):
        self.x = x
        self.squares = x.T @ x * curvature.mean()

    def set_strength(self, strength: float) -> None:
        """Set the units for a strength."""
        second = strength * self.squares
        second.diagonal().add_(1)
        self.factor = torch.linalg.cholesky(second).T.contiguous()

    def to_units(self, weight: Tensor) -> Tensor:
        """Weights ``(D, L)`` in these units."""
        return self.factor @ weight

    def from_units(self, weight: Tensor) -> Tensor:
        """Undo :meth:`to_units`."""
        return torch.linalg.solve_triangular(self.factor, weight, upper=True)

    def to_whole(self, weight: Tensor) -> Tensor:
        """Weights ``(D, L)`` for the vectors."""
        return weight


class _Span:
    """The dimensions that fewer images span: weights outside of them would only cost.

    Its axes are principal ones, so that units are of each axis and label. The arguments
    are those of :class:`_Whole`.
    """

    def __init__(self, x: Tensor, curvature: Tensor):
        squares, left = torch.linalg.eigh(x.double() @ x.double().T)
        kept = squares > squares.amax().clamp(min=1e-300) * 1e-12
        scales = squares[kept].sqrt()
        axes = x.double().T @ (left[:, kept] / scales)
        self.axes = axes.to(x.dtype)
        self.x = (x.double() @ axes).to(x.dtype)
        self.curvature = scales.square().to(x.dtype)[:, None] * curvature

    def set_strength(self, strength: float) -> None:
        """Set the units for a strength."""
        self.units = (1 + strength * self.curvature).rsqrt()

    def to_units(self, weight: Tensor) -> Tensor:
        """Weights ``(R, L)`` in these units."""
        return weight / self.units

    def from_units(self, weight: Tensor) -> Tensor:
        """Undo :meth:`to_units`."""
        return weight * self.units

    def to_whole(self, weight: Tensor) -> Tensor:
        """Weights ``(D, L)`` for the vectors."""
        return self.axes @ weight


def _minimise(
    space: _Whole | _Span,
    signs: Tensor,
    mask: Tensor,
    strength: float,
    weight: Tensor,
    bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """Minimise the loss of :func:`logistic_path`, from a weight and a bias."""
    tolerance = TOLERANCE * min(1.0, strength)
    if signs.dtype == torch.float32:
        tolerance = max(tolerance, ROUNDING * strength * len(signs))
    scaled = space.to_units(weight).requires_grad_()
    offset = bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [scaled, offset],
        max_iter=MAX_ITERATIONS,
        history_size=10,
        tolerance_grad=tolerance,
        tolerance_change=0,
        line_search_fn='strong_wolfe',
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        own = space.from_units(scaled)
        fit = (F.softplus(-signs * (space.x @ own + offset)) * mask).sum()
        loss = strength * fit + own.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return space.from_units(scaled).detach(), offset.detach()


def choose_strength(
    vectors: Tensor,
    targets: Tensor,
    strengths: Sequence[float],
    images: Tensor | None = None,
    measure: Callable[[Tensor, Tensor], float] | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> tuple[float, float]:
    """Choose the strength of a regression by cross-validation.

    Args:
        vectors (Tensor): ``(N, D)``.
        targets (Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        strengths (Sequence[float]): The values to choose from, rising.
        images (Tensor, optional): ``(N,)`` the image of each row, ascending. Rows of an
            image are left out together, and the first one judges. Defaults to None:
            one row per image.
        measure (Callable, optional): How good logits ``(N, L)`` are for targets; more
            is better. Defaults to None: the mean logarithm of the likelihood.
        num_folds (int): Number of folds. Defaults to 5.
        seed (int): Seed of the folds. Defaults to 0.

    Returns:
        tuple[float, float]: The best strength for the rows left out, and its measure.
        Of equally good ones it is the smallest. If the measure is nan, it is the one in
        the middle.
    """
    first = torch.ones(len(vectors), dtype=torch.bool)
    if images is None:
        members = torch.arange(len(vectors))
    else:
        first[1:] = images[1:] != images[:-1]
        members = first.cumsum(0) - 1
    fold = label_folds(targets[first], num_folds, seed)[members]
    scores = torch.zeros(len(strengths), *targets.shape, dtype=vectors.dtype)
    for number in range(int(fold.max()) + 1):
        held = fold == number
        if held.all():
            return strengths[len(strengths) // 2], math.nan
        path = logistic_path(vectors[~held], targets[~held], strengths)
        for place, linear in enumerate(path):
            scores[place, held] = linear(vectors[held])
    measure = measure or log_likelihood
    values = [measure(own[first], targets[first]) for own in scores]
    if any(math.isnan(value) for value in values):
        return strengths[len(strengths) // 2], math.nan
    best = max(range(len(values)), key=lambda place: (round(values[place], 6), -place))
    return strengths[best], values[best]


def log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """The mean logarithm of the likelihood of all known targets; nan without any."""
    signs = torch.where(is_present(targets), 1.0, -1.0)
    return float(F.logsigmoid(signs * logits)[is_known(targets)].mean())


def label_folds(targets: Tensor, num_folds: int = 5, seed: int = 0) -> Tensor:
    """Divide images into folds that each have a share of every label.

    The images of a label are dealt out to the folds in turn, the rarest label first.

    Args:
        targets (Tensor): ``(N, L)``.
        num_folds (int): Number of folds, at most that of the images.
        seed (int): Seed of the order. Defaults to 0.

    Returns:
        Tensor: ``(N,)`` the number of each image's fold.
    """
    number = len(targets)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(number, generator=generator)
    present = is_present(targets)
    rarest = torch.full((number,), present.shape[1])
    # The rarest label of each image; those without one come last.
    for place, label in reversed(list(enumerate(present.sum(0).argsort(stable=True)))):
        rarest[present[:, label]] = place
    order = order[rarest[order].argsort(stable=True)]
    fold = torch.empty(number, dtype=torch.long)
    fold[order] = torch.arange(number) % min(num_folds, number)
    return fold
