# SPDX-License-Identifier: Apache-2.0
"""Rules that choose the positives of an image by label sets.

The rules and their sources are described in :func:`image_level_contrastive_loss`.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import torch

from ...targets import ABSENT, PRESENT, is_known, is_present


class Positives(NamedTuple):
    """Result of a rule."""

    weights: torch.Tensor
    """``(B, K)`` weights of the cross-entropies of anchors and candidates."""
    offset: torch.Tensor | float = 0.0
    """A term of the loss that does not depend on the embeddings."""


class LabelSets:
    """The label sets of anchors (S) and candidates (T), compared pair by pair.

    Args:
        targets (Tensor): ``(B, L)`` of the anchors.
        other_targets (Tensor): ``(K, L)`` of the candidates.
        in_batch (bool): The first B candidates are the anchors themselves.
    """

    def __init__(
        self, targets: torch.Tensor, other_targets: torch.Tensor, in_batch: bool
    ):
        dtype = targets.dtype
        self.present = is_present(targets).to(dtype)
        self.others_present = is_present(other_targets).to(dtype)
        absent = _is_not_present(targets).to(dtype)
        others_absent = _is_not_present(other_targets).to(dtype)
        # Numbers of labels, all (B, K) and of labels known in both: in S and T, in S
        # but not in T, in T but not in S.
        self.shared = self.present @ self.others_present.T
        self.missing = self.present @ others_absent.T
        self.surplus = absent @ self.others_present.T
        self.wholly_known = is_known(targets).all(dim=1, keepdim=True)
        self.others_wholly_known = is_known(other_targets).all(dim=1)
        self.in_batch = in_batch
        self.itself = torch.zeros_like(self.shared, dtype=torch.bool)
        if in_batch:
            self.itself.fill_diagonal_(True)

    @property
    def size(self) -> torch.Tensor:
        """``(B, 1)`` numbers of labels of the anchors."""
        return self.present.sum(dim=1, keepdim=True)

    def jaccard(self) -> torch.Tensor:
        """Shared labels over all labels of a pair; 0 for two images without label."""
        union = self.shared + self.missing + self.surplus
        return self.shared / union.clamp(min=1)

    def mean(
        self, positives: torch.Tensor, factors: torch.Tensor | float = 1.0
    ) -> torch.Tensor:
        """Weights of a mean over positives, then over anchors."""
        positives = (positives & ~self.itself).to(self.shared.dtype)
        number = positives.sum(dim=1, keepdim=True).clamp(min=1)
        return positives * factors / (number * len(positives))


def _is_not_present(targets: torch.Tensor) -> torch.Tensor:
    """Where labels are known and not present; soft targets count as not present."""
    return (targets >= ABSENT) & (targets < PRESENT)


def _any(sets: LabelSets) -> Positives:
    return Positives(sets.mean(sets.shared > 0))


def _all(sets: LabelSets) -> Positives:
    equal = (sets.missing == 0) & (sets.surplus == 0)
    sure = (sets.shared > 0) | (sets.wholly_known & sets.others_wholly_known)
    return Positives(sets.mean(equal & sure))


def _jaccard(sets: LabelSets) -> Positives:
    return Positives(sets.mean(sets.shared > 0, sets.jaccard()))


def _threshold(
    sets: LabelSets, threshold: int, jaccard_weights: bool = False
) -> Positives:
    part = (sets.missing == 0) & (
        (sets.shared > 0) | (sets.wholly_known & (sets.size == 0))
    )
    positives = torch.where(sets.size >= threshold, sets.shared > threshold, part)
    return Positives(sets.mean(positives, sets.jaccard() if jaccard_weights else 1.0))


def _mulsupcon(sets: LabelSets, with_weight: bool = False) -> Positives:
    carriers = sets.others_present.sum(dim=0)
    if sets.in_batch:
        # An anchor with the label is one of them, and no positive of itself.
        carriers = carriers - 1
    weights = (sets.present / carriers.clamp(min=1)) @ sets.others_present.T
    weights = weights.masked_fill(sets.itself, 0)
    if with_weight:
        return Positives(weights / (sets.size.clamp(min=1) * max(len(weights), 1)))
    return Positives(weights / sets.size.sum().clamp(min=1))


def _similarity_dissimilarity(
    sets: LabelSets,
    use_similarity: bool = True,
    use_dissimilarity: bool = True,
    inside_log: bool = False,
) -> Positives:
    factors = torch.ones_like(sets.shared)
    if use_similarity:
        factors = sets.shared / (sets.shared + sets.missing).clamp(min=1)
    if use_dissimilarity:
        factors = factors / (1 + sets.surplus)
    positives = sets.shared > 0
    if inside_log:
        weights = sets.mean(positives)
        return Positives(weights, -(weights * factors.where(positives, 1).log()).sum())
    return Positives(sets.mean(positives, factors))


RULES: dict[str, Callable[..., Positives]] = dict(
    any=_any,
    all=_all,
    jaccard=_jaccard,
    threshold=_threshold,
    mulsupcon=_mulsupcon,
    similarity_dissimilarity=_similarity_dissimilarity,
)
"""By name, a function of label sets and of the rule's options."""


def check_rule(rule: str, options: dict) -> None:
    """Raise a ``ValueError`` unless there is such a rule and it has these options."""
    if rule not in RULES:
        raise ValueError(f'rule must be one of {", ".join(RULES)}, got {rule!r}.')
    known = dict(list(inspect.signature(RULES[rule]).parameters.items())[1:])
    for name in options:
        if name not in known:
            raise ValueError(
                f'The rule {rule!r} has no option {name!r}. Its options: '
                f'{", ".join(known) or "none"}.'
            )
    for name, parameter in known.items():
        if name not in options:
            if parameter.default is parameter.empty:
                raise ValueError(f'The rule {rule!r} needs the option {name!r}.')
        elif parameter.annotation is bool:
            if not isinstance(options[name], bool):
                raise ValueError(
                    f'{name} must be True or False, got {options[name]!r}.'
                )
        elif type(options[name]) is not int or options[name] < 0:
            raise ValueError(
                f'{name} must be a number of labels, 0 or more, got {options[name]!r}.'
            )
