# SPDX-License-Identifier: Apache-2.0
"""Divide images so that every part has its share of every label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from ..targets import is_present, is_unknown

MISSING = (
    'The stratified split needs iterative-stratification: run `pip install '
    'iterative-stratification`.'
)


@dataclass(frozen=True, eq=False)
class StratifiedSplit:
    """Parts of a data set and how well they match.

    Attributes:
        parts (dict[str, np.ndarray]): Indices of the images of each part, ascending.
        shares (dict[str, float]): The share of the images that each part was to have.
        present (dict[str, np.ndarray]): ``(L,)`` images of each part that have a label.
        classes (tuple[str, ...]): Names of the labels.
    """

    parts: dict[str, np.ndarray]
    shares: dict[str, float]
    present: dict[str, np.ndarray]
    classes: tuple[str, ...]

    @property
    def totals(self) -> np.ndarray:
        """np.ndarray: ``(L,)`` images of the whole set that have a label."""
        return np.sum(list(self.present.values()), axis=0)

    @property
    def too_rare(self) -> list[str]:
        """list[str]: Labels with fewer images than there are parts."""
        return [self.classes[i] for i in np.flatnonzero(self.totals < len(self.parts))]

    def missing(self, part: str) -> list[str]:
        """Labels that some image has, but no image of a part."""
        gone = (self.present[part] == 0) & (self.totals > 0)
        return [self.classes[i] for i in np.flatnonzero(gone)]

    def deviations(self, part: str) -> np.ndarray:
        """Compare the share of each label's images in a part with the wanted share.

        Returns:
            np.ndarray: ``(L,)`` got minus wanted; NaN for labels that no image has.
        """
        totals = self.totals.astype(np.float64)
        totals[totals == 0] = np.nan
        return self.present[part] / totals - self.shares[part]

    def describe(self) -> list[str]:
        """One line of text per part: its size, and how far off its labels are."""
        number = sum(map(len, self.parts.values()))
        lines = []
        for name, images in self.parts.items():
            off = np.abs(self.deviations(name))
            line = (
                f'{name}: {len(images):,} images, {len(images) / number:.1%} (wanted '
                f'{self.shares[name]:.1%})'
            )
            if not np.isnan(off).all():
                worst = int(np.nanargmax(off))
                line += (
                    f"; share of a label's images off by {np.nanmean(off):.1%} on "
                    f"average, by {off[worst]:.1%} at most ('{self.classes[worst]}', "
                    f'{self.present[name][worst]} of {self.totals[worst]} images)'
                )
            lines.append(line)
        return lines

    def warnings(self) -> list[str]:
        """One line of text for each problem: rare labels, and labels a part lacks."""
        problems = {
            f'labels with fewer images than the {len(self.parts)} parts': self.too_rare,
            **{f'labels that {name} lacks': self.missing(name) for name in self.parts},
        }
        return [
            f'{what}: {", ".join(names)}' for what, names in problems.items() if names
        ]


def stratified_split(
    targets: csr_array,
    classes: Sequence[str],
    shares: Mapping[str, float],
    seed: int = 0,
) -> StratifiedSplit:
    """Divide images by iterative stratification.

    Sechidis, Tsoumakas and Vlahavas, `On the Stratification of Multi-Label Data
    <https://doi.org/10.1007/978-3-642-23808-6_10>`_, ECML PKDD 2011, as implemented by
    the package iterative-stratification: labels are distributed one after the other,
    the rarest first. Unknown entries are distributed like labels of their own, so that
    they do not gather in one part. Images without any label are spread evenly. More
    than two parts are split off one after the other.

    The labels become a dense matrix of bool, and the time grows with the square of the
    number of labels.

    Args:
        targets (csr_array): ``(N, L)`` in {1, 0, -1}.
        classes (Sequence[str]): L names.
        shares (Mapping[str, float]): The share of the images for each part, by name.
            The sum is 1.
        seed (int): Seed of the random order and of ties. Defaults to 0.

    Returns:
        StratifiedSplit: The parts. Their sizes may be off by a few images.

    Raises:
        ImportError: If iterative-stratification is missing.
        ValueError: If there are fewer than two parts, a share is not between 0 and 1,
            their sum is not 1, or there are too few images.
    """
    # Imported here: this module is also needed without the package.
    try:
        from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit
    except ImportError as error:
        raise ImportError(MISSING) from error

    check_shares(shares)
    number = targets.shape[0]
    for name, share in shares.items():
        if round(share * number) < 1:
            raise ValueError(
                f'{number} images are too few: {name} would get none for its share of '
                f'{share:g}.'
            )

    columns = columns_to_balance(targets)
    rest = np.arange(number)
    parts: dict[str, np.ndarray] = {}
    names = list(shares)
    # The first part gets the rest; its size depends on rounding.
    for name in reversed(names[1:]):
        left = sum(share for other, share in shares.items() if other not in parts)
        size = min(max(1, round(shares[name] / left * len(rest))), len(rest) - 1)
        splitter = MultilabelStratifiedShuffleSplit(
            n_splits=1, test_size=size, train_size=len(rest) - size, random_state=seed
        )
        kept, taken = next(splitter.split(np.zeros(len(rest)), columns[rest]))
        parts[name] = rest[taken]
        rest = rest[kept]
    parts[names[0]] = rest
    parts = {name: np.sort(parts[name]) for name in names}
    empty = [name for name, images in parts.items() if len(images) == 0]
    if empty:
        raise ValueError(
            f'{number} images are too few to be divided by their labels: {empty} would '
            'get none.'
        )
    present = {
        name: np.asarray(is_present(targets[images]).sum(axis=0))
        .ravel()
        .astype(np.int64)
        for name, images in parts.items()
    }
    return StratifiedSplit(parts, dict(shares), present, tuple(classes))


def check_shares(shares: Mapping[str, float]) -> None:
    """Check the shares of the parts.

    Raises:
        ValueError: If there are fewer than two parts, a share is not between 0 and 1,
            or their sum is not 1.
    """
    if len(shares) < 2:
        raise ValueError(f'Expected two parts or more, got {list(shares)}.')
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(
                f'The share of {name} must lie between 0 and 1, got {share:g}.'
            )
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f'The shares of {list(shares)} sum up to {total:g}, not to 1.')


def columns_to_balance(targets: csr_array) -> np.ndarray:
    """``(N, L + U)`` bool: present labels, and unknown entries of U labels."""
    present = is_present(targets).toarray()
    unknown = is_unknown(targets).toarray()
    columns = np.concatenate([present, unknown[:, unknown.any(axis=0)]], axis=1)
    if columns.shape[1] == 1:
        # scikit-learn takes a single column for something else than multi-label data.
        columns = np.concatenate([columns, ~columns], axis=1)
    return columns
