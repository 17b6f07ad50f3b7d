# SPDX-License-Identifier: Apache-2.0
"""Pictures of a data set: frequency of labels, co-occurrence, sample images."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

MAX_NAME = 28
"""Largest number of characters of a label's name that are drawn."""

BLUE, ORANGE, GREY = '#0969da', '#bc4c00', '#57606a'


def _short(name: str) -> str:
    """Put a name on one line and shorten it."""
    name = ' '.join(name.split())
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + '…'


def _check_length(name: str, values: np.ndarray, number: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (number,):
        raise ValueError(
            f'{name} must have the shape ({number},), one number for each of the '
            f'classes, got {values.shape}.'
        )
    return values


def label_histogram(
    present: np.ndarray,
    unknown: np.ndarray,
    labels_an_image: np.ndarray,
    classes: Sequence[str],
    title: str,
    max_labels: int = 40,
) -> Figure:
    """Draw how many images have each label, and how many labels each image has.

    Left: the most frequent labels by name. Right above: all labels by rank, on
    logarithmic axes, which shows how long the tail is. Right below: images by their
    number of labels.

    Args:
        present (np.ndarray): ``(L,)`` images that a label is present in.
        unknown (np.ndarray): ``(L,)`` images where it is unknown.
        labels_an_image (np.ndarray): ``(N,)`` labels present in every image.
        classes (Sequence[str]): L names.
        title (str): A line above the picture.
        max_labels (int): Largest number of labels shown by name. Defaults to 40.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.

    Raises:
        ValueError: If a shape does not fit the classes, or ``max_labels`` is not
            positive.
    """
    _check_max_labels(max_labels)
    present = _check_length('present', present, len(classes))
    unknown = _check_length('unknown', unknown, len(classes))
    labels_an_image = np.asarray(labels_an_image)
    order = np.argsort(-present, kind='stable')
    shown = order[:max_labels]

    height = max(4.5, 1.3 + 0.21 * len(shown))
    figure = Figure(
        figsize=(11, height), dpi=110, facecolor='white', layout='constrained'
    )
    figure.suptitle(title, x=0.01, ha='left', weight='bold', parse_math=False)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.6, 1))

    ax = figure.add_subplot(grid[:, 0])
    places = np.arange(len(shown))
    ax.barh(places, present[shown], color=BLUE, height=0.75)
    for place, label in enumerate(shown):
        text = f' {present[label]:,}'
        if unknown[label]:
            text += f' ({unknown[label]:,} unknown)'
        ax.text(present[label], place, text, va='center', fontsize=8, color=GREY)
    ax.set_yticks(places, [_short(classes[i]) for i in shown], parse_math=False)
    ax.set(ylim=(len(shown) - 0.4, -0.6), xlabel='images that have the label')
    # Space for the numbers at the ends of the bars.
    ax.set_xlim(0, 1.25 * max(1, present.max(initial=0)))
    what = 'All labels' if len(shown) == len(classes) else f'The {len(shown)} most'
    if len(shown) < len(classes):
        what += f' frequent of {len(classes):,} labels'
    ax.set_title(what, loc='left', fontsize=10)

    ax = figure.add_subplot(grid[0, 1])
    seen = present[order][present[order] > 0]
    ax.loglog(np.arange(1, len(seen) + 1), seen, '.-', color=BLUE, markersize=4)
    title = f'All labels by rank; {len(classes) - len(seen):,} never present'
    ax.set_title(title, loc='left', fontsize=10)
    ax.set(xlabel='rank of the label', ylabel='images')
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter('')

    ax = figure.add_subplot(grid[1, 1])
    number = np.bincount(labels_an_image.astype(np.int64), minlength=1)
    ax.bar(np.arange(len(number)), number, color=ORANGE, width=0.75)
    mean = labels_an_image.mean() if len(labels_an_image) else 0.0
    ax.set_title(f'Labels an image: {mean:.2f} on average', loc='left', fontsize=10)
    ax.set(xlabel='labels that are present', ylabel='images')
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in figure.axes:
        ax.spines[['top', 'right']].set_visible(False)
        ax.tick_params(labelsize=8)
    bars, ranks, numbers = figure.axes
    for axis in (bars.xaxis, ranks.xaxis, ranks.yaxis, numbers.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,g}'))
    return figure


def cooccurrence_matrix(
    counts: np.ndarray,
    classes: Sequence[str],
    title: str,
    num_classes: int | None = None,
    max_labels: int = 40,
) -> Figure:
    """Draw how often labels are present together.

    A row shows in which fraction of the images with its label the label of each column
    is also present.

    Args:
        counts (np.ndarray): ``(T, T)`` images that have both labels, on the diagonal
            images that have the label; the most frequent labels first.
        classes (Sequence[str]): T names.
        title (str): A line above the picture.
        num_classes (int, optional): All labels of the data set, of which these are the
            most frequent. None if these are all. Defaults to None.
        max_labels (int): Largest number of labels shown, the first ones.
            Defaults to 40.

    Returns:
        matplotlib.figure.Figure: The picture; ``savefig(path)`` writes it.

    Raises:
        ValueError: If the shape of ``counts`` does not fit the classes, or
            ``max_labels`` is not positive.
    """
    _check_max_labels(max_labels)
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f'counts must have the shape ({len(classes)}, {len(classes)}), a row and a '
            f'column for each of the classes, got {counts.shape}.'
        )
    num_classes = num_classes or len(classes)
    counts = counts[:max_labels, :max_labels]
    names = [_short(name) for name in classes[:max_labels]]
    own = counts.diagonal()[:, None]
    shares = np.divide(counts, own, out=np.zeros(counts.shape), where=own > 0)
    off_diagonal = ~np.eye(len(names), dtype=bool)
    most = shares[off_diagonal].max(initial=0)

    side = 2.5 + max(3.0, 0.27 * len(names))
    figure = Figure(
        figsize=(side + 0.8, side + 0.7),
        dpi=110,
        facecolor='white',
        layout='constrained',
    )
    figure.suptitle(title, x=0.01, ha='left', weight='bold', parse_math=False)
    ax = figure.add_subplot()
    picture = ax.imshow(
        # The diagonal is always 1.
        np.ma.masked_array(shares, ~off_diagonal),
        cmap='Blues',
        vmin=0,
        # Small shares are not stretched to the full range.
        vmax=max(most, 0.1),
    )
    ax.set_facecolor('#eaeef2')
    places = np.arange(len(names))
    ax.set_xticks(places, names, rotation=90, parse_math=False)
    ax.set_yticks(places, names, parse_math=False)
    ax.tick_params(labelsize=7 if len(names) > 20 else 8, length=0)
    if len(names) <= 25:
        for row, column in np.argwhere(off_diagonal & (shares >= 0.005)):
            dark = shares[row, column] > 0.6 * max(most, 0.1)
            ax.text(
                *(column, row, f'{100 * shares[row, column]:.0f}'),
                ha='center',
                va='center',
                fontsize=6,
                color='white' if dark else '#24292f',
            )
    which = 'all labels'
    if len(names) < num_classes:
        which = f'the {len(names)} most frequent of {num_classes:,} labels'
    text = 'Of the images with the label of a row, % that have that of the column; '
    ax.set_title(
        textwrap.fill(text + which, width=int(11 * side)),
        loc='left',
        fontsize=8,
        color=GREY,
    )
    bar = figure.colorbar(picture, ax=ax, shrink=0.6)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:.0%}'))
    bar.ax.tick_params(labelsize=8)
    return figure


def sample_sheet(
    images: Sequence[np.ndarray | None],
    targets: Sequence[np.ndarray | None],
    names: Sequence[str],
    classes: Sequence[str],
    title: str,
    columns: int = 6,
    max_labels: int = 6,
) -> Figure:
    """Draw images with their labels.

    Below each image are its name and the labels that are present, then those that are
    unknown. A text marks images that cannot be read or are wrongly annotated.

    Args:
        images (Sequence[np.ndarray | None]): N images ``(H, W, 3)`` uint8, RGB.
        targets (Sequence[np.ndarray | None]): N vectors ``(L,)``, 1 present, 0 absent,
            -1 unknown.
        names (Sequence[str]): N names of images.
        classes (Sequence[str]): L names of labels.
        title (str): A line above the sheet.
        columns (int): Images in a row. Defaults to 6.
        max_labels (int): Largest number of labels named per image, of each kind.
            Defaults to 6.

    Returns:
        matplotlib.figure.Figure: The sheet; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no image, or numbers of images, targets and names
            differ.
    """
    if not images:
        raise ValueError('A sample sheet needs at least one image, got none.')
    if not len(images) == len(targets) == len(names):
        raise ValueError(
            f'Got {len(images)} images, {len(targets)} targets and {len(names)} names, '
            'expected the same number of each.'
        )
    texts = [_describe(target, classes, max_labels) for target in targets]
    rows = [
        range(i, min(i + columns, len(images))) for i in range(0, len(images), columns)
    ]
    # In inches: a picture, a line of text, the gap between them, the heading.
    picture, line, gap, head = 1.75, 0.145, 0.15, 0.5
    heights = [
        picture + gap + line * (1 + max(len(texts[i]) for i in row)) for row in rows
    ]
    width = gap + columns * (picture + gap)
    height = head + sum(heights) + gap
    figure = Figure(figsize=(width, height), dpi=110, facecolor='white')
    figure.text(
        *(gap / width, 1 - gap / height, title),
        va='top',
        weight='bold',
        parse_math=False,
    )
    top = head
    for row, row_height in zip(rows, heights):
        for column, i in enumerate(row):
            x, y = gap + column * (picture + gap), height - top - picture
            ax = figure.add_axes(
                (x / width, y / height, picture / width, picture / height)
            )
            ax.set(xticks=[], yticks=[], facecolor='#eaeef2')
            ax.spines[:].set_visible(False)
            image = images[i]
            if image is None:
                ax.text(0.5, 0.5, 'cannot be read', ha='center', transform=ax.transAxes)
            else:
                ax.imshow(image)
                ax.set_anchor('S')
            name = names[i] if len(names[i]) <= 26 else f'…{names[i][-25:]}'
            lines = [(name, GREY), *texts[i]]
            for number, (text, colour) in enumerate(lines):
                figure.text(
                    *(x / width, (y - 0.04 - line * number) / height, text),
                    va='top',
                    fontsize=8,
                    color=colour,
                    parse_math=False,
                )
        top += row_height
    return figure


def pair_sheet(
    images: Sequence[tuple[np.ndarray | None, np.ndarray | None]],
    names: Sequence[tuple[str, str]],
    notes: Sequence[str],
    title: str,
    columns: int = 3,
) -> Figure:
    """Draw pairs of images side by side.

    Args:
        images (Sequence[tuple]): P pairs of images ``(H, W, 3)`` uint8, RGB; None for
            an image that cannot be read.
        names (Sequence[tuple[str, str]]): Their names.
        notes (Sequence[str]): P lines below the names.
        title (str): A line above the sheet.
        columns (int): Pairs in a row. Defaults to 3.

    Returns:
        matplotlib.figure.Figure: The sheet; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no pair, or numbers of pairs, names and notes differ.
    """
    if not images:
        raise ValueError('A sheet of pairs needs at least one pair, got none.')
    if not len(images) == len(names) == len(notes):
        raise ValueError(
            f'Got {len(images)} pairs, {len(names)} pairs of names and {len(notes)} '
            'notes, expected the same number of each.'
        )
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(
        figsize=(3.9 * columns, 0.5 + 2.1 * rows),
        dpi=110,
        facecolor='white',
        layout='constrained',
    )
    figure.suptitle(title, x=0.01, ha='left', weight='bold', parse_math=False)
    axes = figure.subplots(rows, 2 * columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for place, (pair, pair_names, note) in enumerate(zip(images, names, notes)):
        row, column = divmod(place, columns)
        for side in (0, 1):
            ax, image = axes[row, 2 * column + side], pair[side]
            if image is None:
                ax.text(0.5, 0.5, 'cannot be read', ha='center', transform=ax.transAxes)
            else:
                ax.imshow(image)
            name = pair_names[side]
            name = name if len(name) <= 26 else f'…{name[-25:]}'
            text = f'{name}\n{note if side == 0 else ""}'
            ax.set_title(text, loc='left', fontsize=8, color=GREY, parse_math=False)
    return figure


def _describe(
    target: np.ndarray | None, classes: Sequence[str], max_labels: int
) -> list[tuple[str, str]]:
    """Make lines of text, with colours, for the labels of an image."""
    if target is None:
        return [('wrongly annotated', ORANGE)]
    lines = []
    for value, colour, prefix in ((1, BLUE, ''), (-1, GREY, '? ')):
        labels = np.flatnonzero(np.asarray(target) == value)
        lines += [(prefix + _short(classes[i]), colour) for i in labels[:max_labels]]
        if len(labels) > max_labels:
            lines.append((f'{prefix}and {len(labels) - max_labels:,} more', colour))
    return lines or [('no label', GREY)]


def _check_max_labels(max_labels: int) -> None:
    if max_labels < 1:
        raise ValueError(f'max_labels must be positive, got {max_labels}.')
