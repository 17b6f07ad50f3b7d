# SPDX-License-Identifier: Apache-2.0
"""Find labels that are probably wrong."""

import csv
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from ..datasets.forms import write_files
from ..datasets.stratified_folds import stratified_folds
from ..fit.backbone import find_backbone
from ..fit.console import Console, duration, log_to_file
from ..fit.options import FitOptions
from ..fit.read_data import Photographs
from ..fit.recipe import VIEWS, find_device
from ..models.neighbours import ImageNeighbours
from ..plain_text import neutral
from ..reports.sheet import Card, Line, Sheet, write_sheet
from ..targets import UNKNOWN
from ..text_table import table_of_rows
from .changes import (
    WORDS,
    Change,
    check_corrected,
    corrected_name,
    keep_source,
    read_confirmed,
    write_changes,
    write_corrected,
)
from .features import (
    BACKBONE,
    NUM_VIEWS,
    WORK,
    Featured,
    compute_features,
    is_config,
    read_source,
    refuse_with_config,
)
from .hand_work import check_untouched
from .label_wise import LABEL, Stored, rows_of_folds, train_fold
from .out_of_fold import out_of_fold
from .suspicion import KINDS, mean_probability, rank_entries, suspicion

LOGISTIC, NEIGHBOURS, LABEL_WISE = 'logistic', 'neighbours', 'label_wise'
CHANGES = 'changes.csv'
PRINTED = 10
"""Issues that are printed."""


@dataclass(frozen=True)
class IssueOptions:
    """How to look for wrong labels; :func:`find_issues` describes the fields.

    Raises:
        ValueError: If one is out of range.
    """

    kind: str = 'both'
    folds: int = 5
    at_least: float = 0.9
    number: int = 1000
    pictures: int = 60
    label_wise: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'kind must be one of {KINDS}, got kind={self.kind!r}.')
        if not 0 < self.at_least <= 1:
            raise ValueError(
                f'at_least must be above 0 and at most 1, got at_least={self.at_least}.'
            )
        for name, least in (('folds', 2), ('number', 1), ('pictures', 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f'{name} must be {least} or more, got {name}={getattr(self, name)}.'
                )


@dataclass(frozen=True, eq=False)
class Issues:
    """What was found.

    Attributes:
        places (np.ndarray): ``(K, 2)`` image and label of each issue, the worst first.
        suspicion (np.ndarray): ``(N, L)``, NaN for labels that are not doubted.
        probability (np.ndarray): ``(N, L)``, that a label is present.
        table (Path): The ranked table.
        changes (Path): The changes to confirm.
        corrected (Path): A copy of the labels with all of these changes.
        sheet (Path): The sheet of photographs.
    """

    places: np.ndarray
    suspicion: np.ndarray
    probability: np.ndarray
    table: Path
    changes: Path
    corrected: Path
    sheet: Path


def find_issues(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
    group: str | None = None,
    kind: str = 'both',
    folds: int = 5,
    at_least: float = 0.9,
    number: int = 1000,
    pictures: int = 60,
    label_wise: bool = False,
    backbone: str | None = None,
    image_size: int | None = None,
    device: str | None = None,
    seed: int = 0,
    stream: TextIO | None = None,
) -> Issues:
    """Find labels that are probably wrong, and write them ranked.

    The images are divided into folds. Each is scored by models of the other folds:
    logistic regression on features of a frozen backbone, and the votes of nearest
    neighbours. The suspicion of a label is the probability of its opposite, see
    :func:`~mlcl_plugin.labelling.suspicion.suspicion`. Unknown labels are not doubted.
    The files of ``source`` are not changed.

    Args:
        source (str | PathLike): The photographs with their labels, as ``mlcl fit``
            takes them, or a config, whose training images are taken.
        out (str | PathLike): The folder of the results.
        images (str | PathLike, optional): The folder of the images.
        classes (Sequence[str], optional): The labels to look at. Defaults to all.
        group (str, optional): The column of a table whose values stay in one fold.
        kind (str): ``'missing'`` doubts absent labels alone, ``'extra'`` present ones,
            ``'both'`` all. Defaults to ``'both'``.
        folds (int): Number of folds. Defaults to 5.
        at_least (float): The suspicion from which on a change is proposed.
        number (int): The most issues that are listed. Defaults to 1000.
        pictures (int): The most photographs on the sheet. Defaults to 60.
        label_wise (bool): Whether neighbours of label-wise embeddings vote,
            too, for which the recipe of ``mlcl fit`` is trained in every fold. Defaults
            to False.
        backbone (str, optional): See :func:`mlcl_plugin.fit.fit`. Defaults to
            ``'efflite0'``; a config has its own.
        image_size (int, optional): See :func:`mlcl_plugin.fit.fit`. A config has its
            own.
        device (str, optional): Where to compute. Defaults to a GPU, if there is one.
        seed (int): Seed of the folds. Defaults to 0.
        stream (TextIO, optional): Where progress is written. Defaults to stdout.

    Returns:
        Issues: What was found.

    Raises:
        FileExistsError: If a table of an earlier call in ``out`` was changed since.
        FileNotFoundError: If a file or an image is missing.
        ImportError: If a package is missing.
        ValueError: If an option or the data is wrong.
    """
    options = IssueOptions(kind, folds, at_least, number, pictures, label_wise)
    source, folder = str(source), Path(out)
    if label_wise and is_config(source):
        raise ValueError(
            'label_wise=True trains the recipe of mlcl fit, which takes a table or a '
            f'folder, but {source} is a config. Leave it out, or name the table.'
        )
    refuse_with_config(
        source, 'backbone and images', backbone=backbone, image_size=image_size
    )
    fit_options = FitOptions(
        'issues',
        folder / WORK,
        recipe='frozen',
        backbone=backbone or BACKBONE,
        image_size=image_size,
        seed=seed,
        device=None if device is None else find_device(device),
    )
    keep_source(source, folder)
    data = read_source(source, None if images is None else str(images), classes, group)
    check_untouched(folder, (CHANGES, corrected_name(data)))
    check_corrected(data)
    fold = stratified_folds(data.labels.targets, folds, seed, data.groups)
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
            num_views=VIEWS if label_wise else NUM_VIEWS,
            device=device,
            seed=seed,
        )
        members = _score(featured, fold, options, fit_options, console)
        return _write(data, members, options, folder, console)


def _score(
    featured: Featured,
    fold: np.ndarray,
    options: IssueOptions,
    fit_options: FitOptions,
    console: Console,
) -> dict[str, np.ndarray]:
    """Probabilities ``(N, L)`` of presence by all models, out of fold."""
    labels = featured.labels
    targets = labels.targets.toarray()
    console.line(f'scoring {len(targets):,} images in {options.folds} folds')
    found = {LOGISTIC: out_of_fold(featured.logistic, featured.pooled(), targets, fold)}
    if not options.label_wise:
        found[NEIGHBOURS] = out_of_fold(
            ImageNeighbours(), featured.averages(), targets, fold
        )
        return found
    stored = Stored(featured.features.folder, featured.features.backbone)
    found[LABEL_WISE] = np.full(targets.shape, np.nan)
    for index, rows in enumerate(rows_of_folds(fold)):
        console.line(f'training without fold {index + 1} of {options.folds}')
        work = fit_options.out / f'fold_{index}'
        # That of an earlier call may have seen other labels.
        shutil.rmtree(work, ignore_errors=True)
        own = replace(fit_options, out=work)
        backbone = find_backbone(own.backbone)
        votes = train_fold(stored, labels, rows, own, backbone, console)
        found[LABEL_WISE][rows['val']] = votes[LABEL]
    return found


def _write(
    data: Photographs,
    members: dict[str, np.ndarray],
    options: IssueOptions,
    out: Path,
    console: Console,
) -> Issues:
    targets = data.labels.targets.toarray()
    probability = mean_probability(list(members.values()))
    doubts = suspicion(probability, targets, options.kind)
    places = rank_entries(doubts)
    values = doubts[places[:, 0], places[:, 1]]
    proposed = places[values >= options.at_least]
    listed = places[: options.number]
    _write_table(data, members, probability, doubts, listed, out / 'issues.csv')
    write_changes(
        [_change(data, doubts, place) for place in proposed.tolist()],
        out / CHANGES,
    )
    corrected = write_corrected(data, proposed, out)
    sheet = out / 'issues.html'
    shown = listed[: options.pictures]
    cards = [_card(data, probability, doubts, place) for place in shown.tolist()]
    notes = [
        f'{len(data.labels.images):,} images, {len(data.labels.classes)} labels. The '
        f'{len(shown)} most suspicious of {len(places):,} labels that were examined.',
        'A suspicion is the opinion of models. Look before you change a label.',
    ]
    write_sheet(Sheet('Labels that are probably wrong', notes, cards), sheet)
    _tell(data, doubts, listed, len(proposed), options, console)
    known = int((targets != UNKNOWN).sum())
    blind = int((np.isnan(probability) & (targets != UNKNOWN)).sum())
    if blind:
        console.line(
            f'note: {blind:,} of {known:,} known labels could not be judged: a fold '
            'has no present or no absent image of them for comparison.'
        )
    console.line(f'{duration(console.elapsed)}; look at {sheet}')
    return Issues(
        places,
        doubts,
        probability,
        out / 'issues.csv',
        out / CHANGES,
        corrected,
        sheet,
    )


def _change(data: Photographs, doubts: np.ndarray, place: Sequence[int]) -> Change:
    row, column = place
    given = int(data.labels.targets[row, column])
    return Change(
        data.labels.images[row],
        data.labels.classes[column],
        WORDS[given],
        WORDS[1 - given],
        float(doubts[row, column]),
    )


def _write_table(
    data: Photographs,
    members: dict[str, np.ndarray],
    probability: np.ndarray,
    doubts: np.ndarray,
    places: np.ndarray,
    path: Path,
) -> None:
    """Write the ranked table: probabilities are those that the label is present."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['rank', 'image', 'label', 'given', 'score', 'suspicion', *members])
    for rank, (row, column) in enumerate(places.tolist(), start=1):
        item = _change(data, doubts, (row, column))
        scores = [probability, doubts, *members.values()]
        cells = [
            '' if np.isnan(value[row, column]) else f'{value[row, column]:.4f}'
            for value in scores
        ]
        writer.writerow([rank, *map(neutral, item[:3]), *cells])
    write_files([lambda: [(path, text.getvalue().encode())]], overwrite=True)


def _card(
    data: Photographs, probability: np.ndarray, doubts: np.ndarray, place: Sequence[int]
) -> Card:
    row, column = place
    item = _change(data, doubts, place)
    present = [data.labels.classes[i] for i in data.labels.labels_of(row, 1)]
    question = {
        'present': f'{item.label}: given, but probably not there',
        'absent': f'{item.label}: not given, but probably there',
    }[item.given]
    lines = [
        Line(
            f'suspicion {item.suspicion:.2f}, score of {item.label} '
            f'{probability[row, column]:.2f}'
        ),
        Line(f'given: {", ".join(present) or "no label"}', soft=True),
        Line(item.image, soft=True),
    ]
    return Card(data.root / item.image, question, lines)


def _tell(
    data: Photographs,
    doubts: np.ndarray,
    places: np.ndarray,
    proposed: int,
    options: IssueOptions,
    console: Console,
) -> None:
    rows = []
    for place in places[:PRINTED].tolist():
        item = _change(data, doubts, place)
        rows.append(
            dict(
                image=item.image,
                label=item.label,
                given=item.given,
                suspicion=f'{item.suspicion:.2f}',
            )
        )
    if rows:
        console.line(table_of_rows(rows))
    console.line(
        f'{proposed:,} changes are proposed (suspicion of {options.at_least:g} or more)'
    )


def apply_changes(
    source: str | os.PathLike,
    confirmed: str | os.PathLike,
    out: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
    group: str | None = None,
) -> tuple[Path, int]:
    """Write a copy of labels with the changes that a person has confirmed.

    Args:
        source (str | PathLike): The photographs with their labels.
        confirmed (str | PathLike): ``changes.csv`` of :func:`find_issues`, with yes in
            the column ``confirmed`` of some rows.
        out (str | PathLike): The folder of the copy.
        images (str | PathLike, optional): The folder of the images.
        classes (Sequence[str], optional): The labels, as they were named before.
        group (str, optional): The column of groups, as it was named before.

    Returns:
        tuple[Path, int]: The table, and the number of labels that it has changed.

    Raises:
        FileExistsError: If the copy of an earlier call was changed since.
        FileNotFoundError: If a file is missing.
        ValueError: If a file is wrong, or the labels are not those of the changes.
    """
    keep_source(str(source), Path(out))
    data = read_source(
        str(source), None if images is None else str(images), classes, group
    )
    check_untouched(Path(out), (corrected_name(data),))
    places = read_confirmed(Path(confirmed), data.labels)
    return write_corrected(data, places, Path(out)), len(places)
