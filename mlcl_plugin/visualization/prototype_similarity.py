# SPDX-License-Identifier: Apache-2.0
"""How like the prototypes of labels are."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .paper import fit_lines

MAX_NAME = 22


def prototype_similarity(
    similarity: np.ndarray, classes: Sequence[str], title: str, note: str = ''
) -> Figure:
    """Draw cosines between labels, those that are like each other side by side.

    Args:
        similarity (np.ndarray): ``(L, L)``, symmetric, from -1 to 1.
        classes (Sequence[str]): L names.
        title (str): A line above.
        note (str): A line below. Defaults to ''.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.

    Raises:
        ValueError: If the shape does not fit the classes.
    """
    similarity = np.asarray(similarity, dtype=float)
    number = len(classes)
    if similarity.shape != (number, number) or number == 0:
        raise ValueError(
            f'similarity must be ({number}, {number}), a row and a column for each of '
            f'the classes, at least one, got {similarity.shape}.'
        )
    order = chain_order(similarity)
    shown = similarity[np.ix_(order, order)]
    names = [_short(classes[label]) for label in order]
    side = max(3.6, 0.185 * number + 1.9)
    figure = Figure(
        figsize=(side, side + 0.7), dpi=130, facecolor='white', layout='constrained'
    )
    figure.suptitle(
        title, x=0.02, ha='left', fontsize=11, weight='bold', parse_math=False
    )
    ax = figure.subplots()
    off_diagonal = shown[~np.eye(number, dtype=bool)]
    low = min(0.0, float(off_diagonal.min(initial=0)))
    high = max(0.1, float(off_diagonal.max(initial=0)))
    picture = ax.imshow(
        # The diagonal is always 1.
        np.ma.masked_array(shown, np.eye(number, dtype=bool)),
        cmap='cividis',
        vmin=low,
        vmax=high,
    )
    ax.set_facecolor('#eaeef2')
    places = np.arange(number)
    size = 8 if number <= 40 else 7
    ax.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
    ax.set_yticks(places, names, fontsize=size, parse_math=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=ax, location='bottom', shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    lines = fit_lines(note or 'cosine of the prototypes', side - 0.6, 8, most=4)
    bar.set_label('\n'.join(lines), fontsize=8)
    return figure


def chain_order(similarity: np.ndarray) -> list[int]:
    """Order labels so that neighbours are like each other.

    From the most similar pair on, the chain grows at the end whose best free label is
    more similar.

    Args:
        similarity (np.ndarray): ``(L, L)``, symmetric.

    Returns:
        list[int]: All labels.

    Examples:
        >>> chain_order(np.array([[1, 0, 0.9], [0, 1, 0.2], [0.9, 0.2, 1]]))
        [0, 2, 1]
    """
    number = len(similarity)
    free = similarity.astype(float).copy()
    np.fill_diagonal(free, -np.inf)
    if number < 3:
        return list(range(number))
    first, second = np.unravel_index(free.argmax(), free.shape)
    chain = [int(min(first, second)), int(max(first, second))]
    free[:, chain] = -np.inf
    while len(chain) < number:
        left, right = free[chain[0]], free[chain[-1]]
        at_left = left.max() > right.max()
        label = int(left.argmax() if at_left else right.argmax())
        chain.insert(0, label) if at_left else chain.append(label)
        free[:, label] = -np.inf
    return chain


def _short(name: str) -> str:
    name = ' '.join(name.split())
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + '…'
