# SPDX-License-Identifier: Apache-2.0
"""Choose the photographs, or single labels of them, that are worth a label."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from ..datasets.forms import ImageLabels, write_files
from ..fit.console import Console, duration, log_to_file
from ..fit.read_data import Photographs
from ..fit.recipe import find_device
from ..fit.split_data import below
from ..inference.sources import find_files
from ..plain_text import neutral
from ..reports.sheet import Card, Line, Sheet, write_sheet
from ..targets import PRESENT, UNKNOWN, is_known, is_unknown
from .changes import keep_source
from .features import (
    Featured,
    compute_features,
    is_config,
    read_source,
    refuse_with_config,
)
from .hand_work import check_untouched, record_written
from .out_of_fold import score_by
from .selection import (
    RULES,
    by_uncertainty,
    entry_values,
    import_k_means,
    order_images,
)
from .tables import check_names, write_parts

TO_LABEL = 'to_label.csv'
GUESSES = 3
"""Labels that a photograph on the sheet is guessed to have, at most."""


@dataclass(frozen=True)
class Choice:
    """What to label next.

    Attributes:
        images (list[str]): The chosen images, the best first; with ``single`` one for
            each label, so that an image may come several times.
        labels (list[str]): With ``single`` the label that is asked for of each, else
            empty.
        table (Path): The ranked table.
        to_label (Path): A table of these images to fill in: what is known is there.
        sheet (Path): The sheet of photographs.
    """

    images: list[str]
    labels: list[str]
    table: Path
    to_label: Path
    sheet: Path


def select_images(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    pool: str | os.PathLike | None = None,
    number: int = 100,
    rule: str | None = None,
    single: bool = False,
    images: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
    pictures: int = 60,
    backbone: str | None = None,
    image_size: int | None = None,
    device: str | None = None,
    seed: int = 0,
    stream: TextIO | None = None,
) -> Choice:
    """Choose which photographs to label next.

    A logistic regression on features of a frozen backbone learns what is known. The
    images of ``pool``, and those of ``source`` with unknown labels, are ordered by a
    rule, see :mod:`~mlcl_plugin.labelling.selection`.

    Args:
        source (str | PathLike): Photographs with labels, as ``mlcl fit`` takes them, or
            a config. Unknown labels are empty cells of a table.
        out (str | PathLike): The folder of the results.
        pool (str | PathLike, optional): A folder of photographs without labels; those
            that ``source`` has are left out. Not with a config.
        number (int): How many images, or single labels, to choose. Defaults to 100.
        rule (str, optional): ``'uncertainty'``, ``'rare'``, ``'diversity'``,
            ``'mixed'``, ``'clusters'`` or ``'random'``. Defaults to ``'clusters'``,
            with ``single`` to ``'rare'``.
        single (bool): Whether to ask for single labels of images. Defaults to False:
            for all labels of an image.
        images (str | PathLike, optional): The folder of the images of ``source``.
        classes (Sequence[str], optional): The labels to look at. Defaults to all.
        pictures (int): The most photographs on the sheet. Defaults to 60.
        backbone (str, optional): See :func:`mlcl_plugin.fit.fit`. Defaults to
            ``'efflite0'``; a config has its own.
        image_size (int, optional): See :func:`mlcl_plugin.fit.fit`. A config has its
            own.
        device (str, optional): Where to compute. Defaults to a GPU, if there is one.
        seed (int): Seed of chance. Defaults to 0.
        stream (TextIO, optional): Where progress is written. Defaults to stdout.

    Returns:
        Choice: What was chosen.

    Raises:
        FileExistsError: If ``to_label.csv`` of an earlier call in ``out`` was changed
            since.
        FileNotFoundError: If a file or an image is missing.
        ImportError: If the rule needs scikit-learn, which is missing.
        ValueError: If an option or the data is wrong, or nothing is unknown.
    """
    for name, value, least in (('number', number, 1), ('pictures', pictures, 0)):
        if value < least:
            raise ValueError(f'{name} must be {least} or more, got {name}={value}.')
    if rule is None:
        rule = 'rare' if single else 'clusters'
    allowed = ('uncertainty', 'rare', 'random') if single else RULES
    if rule not in allowed:
        raise ValueError(
            f'rule must be one of {allowed}{" with single=True" if single else ""}, '
            f'got rule={rule!r}.'
        )
    if rule == 'clusters':
        import_k_means()
    refuse_with_config(str(source), 'data', pool=pool)
    refuse_with_config(
        str(source), 'backbone and images', backbone=backbone, image_size=image_size
    )
    if device is not None:
        find_device(device)
    folder = Path(out)
    keep_source(str(source), folder)
    check_untouched(folder, (TO_LABEL,))
    data = read_source(str(source), None if images is None else str(images), classes)
    check_names(data.labels.classes)
    if pool is not None:
        data = add_pool(data, str(pool))
    targets = data.labels.targets.toarray()
    if not (targets == UNKNOWN).any():
        how = 'Name a folder of photographs without labels: pool=DIR.'
        if is_config(str(source)):
            how = 'Name a table or folder of its images, and a pool, instead.'
        raise ValueError(f'{source} has no unknown label to ask for. {how}')
    if not is_known(targets).any():
        raise ValueError(f'{source} has no known label to learn from.')
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stream)
    with log_to_file(console, folder / 'log.txt'):
        torch.manual_seed(seed)
        featured = compute_features(
            data,
            folder,
            console,
            backbone=backbone,
            image_size=image_size,
            device=device,
            seed=seed,
        )
        probability = _learn(featured, targets)
        if single:
            places = _choose_labels(probability, targets, rule, number, seed)
        else:
            places = _choose_images(featured, probability, rule, number, seed)
        return _write(data, probability, places, single, pictures, folder, console)


def add_pool(data: Photographs, pool: str) -> Photographs:
    """Add the photographs of a folder, without any label.

    Args:
        data (Photographs): Photographs with labels.
        pool (str): The folder, with folders inside of it.

    Returns:
        Photographs: Paths are relative to the folder that both have in common.

    Raises:
        ValueError: If the folder has no other images.
    """
    known = {os.path.realpath(data.root / image) for image in data.labels.images}
    found = [
        os.path.abspath(path)
        for path in find_files(pool, recursive=True)
        if os.path.realpath(path) not in known
    ]
    if not found:
        raise ValueError(
            f'The folder pool={pool} has no photographs that {data.source} lacks.'
        )
    own = data.root.absolute()
    root = Path(os.path.commonpath([own, *map(os.path.dirname, found)]))
    found = [os.path.relpath(path, root) for path in found]
    old = below(data.labels, own, root)
    unknown = np.full((len(found), len(data.labels.classes)), UNKNOWN, np.int8)
    labels = ImageLabels(
        data.labels.classes,
        (*old.images, *found),
        csr_array(vstack([old.targets, csr_array(unknown)], dtype=np.int8)),
    )
    parts = np.concatenate([data.parts, np.full(len(found), 'train')])
    return replace(data, labels=labels, root=root, parts=parts, groups=None)


def _learn(featured: Featured, targets: np.ndarray) -> np.ndarray:
    """Probabilities ``(N, L)`` by what is known."""
    vectors = featured.pooled()
    rows = torch.from_numpy(is_known(targets).any(1))
    given = torch.from_numpy(targets)[rows]
    return score_by(featured.logistic, vectors[rows], given, vectors)


def _choose_images(
    featured: Featured, probability: np.ndarray, rule: str, number: int, seed: int
) -> np.ndarray:
    targets = featured.labels.targets.toarray()
    unknown = is_unknown(targets)
    left = np.flatnonzero(unknown.any(1))
    vectors = featured.averages()[:, 0].numpy()
    chosen = order_images(
        rule,
        number,
        probability=probability[left],
        askable=unknown[left],
        present=(targets == PRESENT).sum(0),
        vectors=vectors[left],
        labelled=vectors[~unknown.any(1)],
        seed=seed,
    )
    return np.stack([left[chosen], np.full(len(chosen), -1)], 1)


def _choose_labels(
    probability: np.ndarray, targets: np.ndarray, rule: str, number: int, seed: int
) -> np.ndarray:
    askable = is_unknown(targets)
    if rule == 'random':
        random = np.random.default_rng(seed).random(targets.shape)
        values = np.where(askable, random, np.nan)
    else:
        present = (targets == PRESENT).sum(0)
        values = entry_values(probability, askable, rule, present)
    places = np.flatnonzero(~np.isnan(values))
    order = places[np.argsort(-values.flat[places], kind='stable')][:number]
    return np.stack(np.unravel_index(order, targets.shape), 1)


def _write(
    data: Photographs,
    probability: np.ndarray,
    places: np.ndarray,
    single: bool,
    pictures: int,
    out: Path,
    console: Console,
) -> Choice:
    labels = data.labels
    images = [labels.images[row] for row, _ in places.tolist()]
    asked = [labels.classes[column] for _, column in places.tolist()] if single else []
    doubt = by_uncertainty(probability, is_unknown(labels.targets.toarray()))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['rank', 'image', *(['label', 'score'] if single else ['entropy'])])
    cards = []
    for rank, (row, column) in enumerate(places.tolist(), start=1):
        name = labels.images[row]
        if single:
            score = probability[row, column]
            shown = '' if np.isnan(score) else f'{score:.4f}'
            label = labels.classes[column]
            cells = [neutral(label), shown]
            title = f'Is there {label}?'
            lines = [Line(f'score {shown or "unknown"}')]
        else:
            cells = [f'{doubt[row]:.4f}']
            title, lines = f'{rank}', [Line(_guess(labels.classes, probability[row]))]
        writer.writerow([rank, neutral(name), *cells])
        if rank <= pictures:
            cards.append(Card(data.root / name, title, [*lines, Line(name, True)]))
    table, to_label, sheet = (
        out / name for name in ('select.csv', TO_LABEL, 'select.html')
    )
    write_files([lambda: [(table, text.getvalue().encode())]], overwrite=True)
    rows = list(dict.fromkeys(places[:, 0].tolist()))
    write_parts(labels.take(rows), data.parts[rows], to_label)
    record_written(to_label)
    number = int(is_unknown(labels.targets.toarray()).any(1).sum())
    what = 'labels' if single else 'photographs'
    notes = [f'{len(places):,} {what} of {number:,} photographs with unknown labels.']
    write_sheet(Sheet('What to label next', notes, cards), sheet)
    console.line(
        f'{len(places):,} {what} chosen: {table}; {duration(console.elapsed)}. Look at '
        f'{sheet}, and fill in {to_label}. Its paths are those in {data.root}.'
    )
    return Choice(images, asked, table, to_label, sheet)


def _guess(classes: Sequence[str], scores: np.ndarray) -> str:
    """The labels with the highest scores."""
    order = np.argsort(-np.nan_to_num(scores), kind='stable')[:GUESSES]
    return ', '.join(f'{classes[i]} {np.nan_to_num(scores[i]):.2f}' for i in order)
