# SPDX-License-Identifier: Apache-2.0
"""What the page of a training shows: texts, tables and pictures."""

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import OtherLabelsError
from ...evaluation.calibration import calibration_error, reliability
from ...evaluation.decisions import Decisions
from ...evaluation.score_dump import ScoreDump
from ...plain_text import printable
from ...targets import is_present, is_unknown
from ...visualization.heat import EVEN, attention_overlay, peak
from ...visualization.inline_svg import inline_svg
from ...visualization.label_attention import OUTCOMES, outcome_of
from ...visualization.precision_recall_plot import precision_recall_panel
from ...visualization.reliability_plot import reliability_panel
from ...visualization.training_curves import panel_figure, read_training
from ..evaluation_report import DumpResult, EvaluationOptions, evaluate_dumps
from ..image_errors import extreme_images, image_errors
from .config_words import describe_config
from .thumbnails import data_uri, read_thumbnail, shrink
from .work_folder import WorkFolder, model_files

CURVES = 12
"""Labels whose curves are seen at once; the others open on a click."""
MAX_CURVES = 100
MAX_PAIRS = 20
SHOWN_LABELS = 6
"""Labels that are named beside an image."""
ATTENDED = 3
"""Labels of an image whose attention is drawn."""
MAX_EXAMPLES = 20
LONGEST = 80
"""Characters of a label that are shown."""
MAX_CONFIG = 100_000
"""Characters of the config that the page holds."""


class Attended(NamedTuple):
    """An image as the network sees it, and the attention of its labels.

    Attributes:
        view (np.ndarray): ``(H, W, 3)`` uint8, RGB, with the sides of the photograph.
        maps (np.ndarray): ``(L, h, w)``, each sums to 1.
    """

    view: np.ndarray
    maps: np.ndarray


Attend = Callable[[Sequence[str], Sequence[str]], Mapping[str, Attended]]
"""Computes attention of images by their paths, for labels in the order of a dump."""


@dataclass(frozen=True)
class PageOptions:
    """What the page holds.

    Args:
        num_images (int): Images in each list, of the worst and of the best; 0 for none.
            Defaults to 6.
        num_resamples (int): Resamples for intervals. Defaults to 1000.
        seed (int): Seed of the resamples. Defaults to 0.
        attend (Callable, optional): See :data:`Attend`. Defaults to None, no attention.
    """

    num_images: int = 6
    num_resamples: int = 1000
    seed: int = 0
    attend: Attend | None = None


class Number(NamedTuple):
    """A value with its name and a line below it."""

    name: str
    value: str
    note: str


class Cell(NamedTuple):
    """What a cell of a table shows, and the number that it is sorted by."""

    text: str
    order: float | None = None


class Picture(NamedTuple):
    """An ``<svg>`` element, or a picture as data, under a heading."""

    title: str
    svg: str = ''
    uri: str = ''
    text: str = ''
    note: str = ''


@dataclass
class Example:
    """An image with the labels found in it and missed."""

    name: str
    uri: str
    labels: list[tuple[str, str, str]]
    more: int
    error: str
    maps: list[Picture] = field(default_factory=list)
    even: list[str] = field(default_factory=list)


@dataclass
class Section:
    """All about one score dump."""

    key: str
    title: str
    numbers: list[Number]
    notes: list[str]
    columns: list[tuple[str, str]]
    rows: list[list[Cell]]
    curves: list[Picture]
    left_out: int
    calibration: Picture | None
    calibration_notes: list[str]
    pairs: list[list[str]]
    worst: list[Example]
    best: list[Example]
    no_images: str = ''


@dataclass
class Content:
    """The whole page."""

    title: str
    kind: str
    folder: str
    made: str
    missing: list[str]
    facts: list[tuple[str, str]]
    curves: list[Picture]
    comparison: list[list[str]]
    comparison_notes: list[str]
    sections: list[Section]
    checks: list[tuple[str, str, list[str]]]
    has_check: bool
    environment: list[tuple[str, str]]
    commands: list[tuple[str, str]]
    checkpoints: list[tuple[str, str]]
    config: str
    version: str


FIT_PARTS = {
    'val_scores.csv': 'validation images',
    'test_scores.csv': 'test images',
}

KINDS = {
    'fit': 'A folder of mlcl fit',
    'steps': 'A work folder of mlcl train, in steps',
    'run': 'A work folder of mlcl train',
}


def make_content(
    work: WorkFolder, options: PageOptions, made: str, version: str
) -> Content:
    """Compute what the page shows.

    Args:
        work (WorkFolder): What was found in the folder.
        options (PageOptions): What the page holds.
        made (str): When and where the page is made.
        version (str): The version of the package.

    Returns:
        Content: Texts without control characters, not yet escaped for HTML.

    Raises:
        FileNotFoundError: If a score dump that is named is missing.
        ValueError: If a score dump or the file of thresholds is wrong.
    """
    training = read_training(work.rows)
    curves = [
        Picture(panel.title, inline_svg(panel_figure(panel, training.ends), f'c{n}', t))
        for n, panel in enumerate(training.panels)
        if (t := printable(panel.describe()))
    ]
    sections = [
        make_section(f'd{n}', path, work, options) for n, path in enumerate(work.dumps)
    ]
    own = work.config_path.read_text('utf-8', 'replace') if work.config_path else ''
    if len(own) > MAX_CONFIG:
        own = own[:MAX_CONFIG] + f'\n... ({len(own):,} characters)'
    table, notes = _comparison(work.comparison)
    return Content(
        title=printable(work.path.absolute().name),
        kind=KINDS[work.kind],
        folder=printable(str(work.path)),
        made=made,
        missing=[printable(text) for text in work.missing],
        facts=[(name, printable(text)) for name, text in describe_config(work)],
        curves=curves,
        comparison=table,
        comparison_notes=notes,
        sections=sections,
        checks=list(_checks(work.data_check)),
        has_check=bool(work.data_check),
        environment=[
            (printable(name), printable(value))
            for name, value in work.environment.items()
        ],
        commands=[(name, printable(text)) for name, text in _commands(work)],
        checkpoints=[
            (printable(item.name), f'{item.size / 1e6:,.1f} MB')
            for item in work.checkpoints
        ],
        config=printable(own, keep='\n\t'),
        version=version,
    )


def make_section(
    key: str, path: Path, work: WorkFolder, options: PageOptions
) -> Section:
    """Evaluate a score dump.

    Args:
        key (str): A word for ids in the page.
        path (Path): The dump.
        work (WorkFolder): For thresholds, and for where images are.
        options (PageOptions): What the page holds.
    """
    dump = ScoreDump.load(path)
    decisions, notes = _decisions(path, dump, work)
    own = EvaluationOptions(
        max_pairs=MAX_PAIRS, num_resamples=options.num_resamples, seed=options.seed
    )
    (result,) = evaluate_dumps([path.stem], [dump], [decisions], own)
    calibrated = decisions.calibrate(dump.scores)
    worst, best = [], []
    no_images = ''
    if options.num_images:
        found = extreme_images(
            ScoreDump(calibrated, dump.targets, dump.classes, dump.images),
            min(options.num_images, MAX_EXAMPLES),
        )
        worst, best = (
            _examples(part, dump, calibrated, decisions, work, options)
            for part in found
        )
        if not any(example.uri for example in [*worst, *best]):
            no_images = (
                'The image files are not where the scores name them, so that only '
                'their names are shown.'
            )
    columns, rows = _label_table(result)
    curves, left_out = _curves(key, result)
    picture, calibration_notes = _calibration(key, dump, decisions)
    return Section(
        key,
        FIT_PARTS.get(path.name if work.kind == 'fit' else '', printable(path.name)),
        _numbers(result),
        notes,
        columns,
        rows,
        curves,
        left_out,
        picture,
        calibration_notes,
        _pairs(result),
        worst,
        best,
        no_images,
    )


def _decisions(
    path: Path, dump: ScoreDump, work: WorkFolder
) -> tuple[Decisions, list[str]]:
    """Decisions for a dump, and what is to say of them."""
    half = Decisions.uniform(dump.classes, 0.5)
    if work.decisions is None:
        return half, ['The threshold of every label is 0.5.']
    decisions = Decisions.load(work.decisions)
    name = printable(work.decisions.name)
    try:
        decisions.check(dump.classes)
    except OtherLabelsError as error:
        return half, [
            f'{name} is for other labels, so that the threshold of every label is '
            f'0.5: {printable(str(error))}'
        ]
    source = decisions.info.get('dump')
    if source is None and work.kind == 'fit':
        # Where a fit finds them.
        source = 'val_scores.csv'
    if source is not None and Path(str(source)).name == path.name:
        return decisions, [
            f'Thresholds: {name}, found on these images, so that precision, recall and '
            'F1 are too good.'
        ]
    return decisions, [f'Thresholds: {name}.']


def _label(name: str) -> str:
    """The name of a label, safe to print and not endless."""
    text = printable(name)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'


def _percent(value: float) -> str:
    return '–' if math.isnan(value) else f'{100 * value:.1f}'


def _interval(low: float, high: float) -> str:
    return '' if math.isnan(low) else f'{100 * low:.1f} to {100 * high:.1f}'


def _numbers(result: DumpResult) -> list[Number]:
    numbers = [
        Number(key, _percent(estimate.value), _interval(*estimate[1:]))
        for key in ('mAP', 'CF1', 'OF1')
        if (estimate := result.estimates.get(key)) is not None
    ]
    number = len(result.dump.images)
    present = is_present(result.dump.targets).sum() / number
    numbers.append(Number('images', f'{number:,}', f'{present:.1f} labels on each'))
    never = sum(row['support'] == 0 for row in result.labels)
    note = f'{never:,} never present' if never else 'each in some image'
    numbers.append(Number('labels', f'{len(result.labels):,}', note))
    return numbers


COLUMNS = {
    'AP': 'average precision: the area below the curve of precision and recall',
    'images': 'images that have the label',
    'precision': 'of the images that got the label, those that have it',
    'recall': 'of the images that have the label, those that got it',
    'F1': 'harmonic mean of precision and recall',
    'threshold': 'the lowest score that gives the label',
}


def _label_table(result: DumpResult) -> tuple[list[tuple[str, str]], list[list[Cell]]]:
    rows = []
    for row, estimate in zip(result.labels, result.label_ap):
        low, high = estimate[1:]
        interval = f' ({_interval(low, high)})' if not math.isnan(low) else ''
        cells = [Cell(_label(row['label']))]
        cells.append(Cell(f'{_percent(row["AP"])}{interval}', _order(row['AP'])))
        cells.append(Cell(f'{row["support"]:,}', row['support']))
        for key in ('precision', 'recall', 'F1'):
            cells.append(Cell(_percent(row[key]), _order(row[key])))
        cells.append(Cell(f'{row["threshold"]:.3f}', row['threshold']))
        rows.append(cells)
    return list(COLUMNS.items()), rows


def _order(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _curves(key: str, result: DumpResult) -> tuple[list[Picture], int]:
    """Curves of precision against recall, the worst labels first."""
    order = [n for n, row in enumerate(result.labels) if row['support'] > 0]
    order.sort(key=lambda n: result.labels[n]['AP'])
    pictures = []
    for n in order[:MAX_CURVES]:
        row = result.labels[n]
        name = _label(row['label'])
        text = f'{name}: average precision {_percent(row["AP"])} %'
        if row['predicted']:
            text += (
                f', at the threshold precision {_percent(row["precision"])} % and '
                f'recall {_percent(row["recall"])} %'
            )
        figure = precision_recall_panel(result.dump, row, n)
        pictures.append(
            Picture(
                name,
                inline_svg(figure, f'{key}p{n}', text),
                text=text,
                note=f'AP {_percent(row["AP"])}',
            )
        )
    return pictures, len(order) - len(pictures)


def _calibration(
    key: str, dump: ScoreDump, decisions: Decisions
) -> tuple[Picture | None, list[str]]:
    if (dump.scores < 0).any() or (dump.scores > 1).any():
        return None, ['The scores are not from 0 to 1.']
    curves = {'before': reliability(dump.scores, dump.targets)}
    notes = []
    if decisions.temperatures is not None:
        curves['after'] = reliability(decisions.calibrate(dump.scores), dump.targets)
        temperatures = np.unique(decisions.temperatures.round(4))
        own = 'one for each label'
        if len(temperatures) == 1:
            own = f'{temperatures[0]:.3f} for all labels'
        notes.append(f'after: scores divided by a temperature, {own}.')
    else:
        notes.append('No temperature was found for these scores.')
    errors = ', '.join(
        f'{name} {100 * float(calibration_error(curve)):.2f} %'
        for name, curve in curves.items()
    )
    text = f'Expected calibration error: {errors}'
    svg = inline_svg(reliability_panel(curves), f'{key}r', text)
    return Picture('Calibration', svg, text=text), notes


def _pairs(result: DumpResult) -> list[list[str]]:
    return [
        [
            _label(pair['present']),
            _label(pair['predicted']),
            f'{pair["images"]:,}',
            f'{pair["expected"]:.1f}',
            f'{pair["missed"]:,}',
        ]
        for pair in result.pairs
    ]


def _examples(
    chosen: Sequence[int],
    dump: ScoreDump,
    scores: np.ndarray,
    decisions: Decisions,
    work: WorkFolder,
    options: PageOptions,
) -> list[Example]:
    errors = image_errors(scores, dump.targets)
    paths = {n: _image_path(dump.images[n], work) for n in chosen}
    attended: Mapping[str, Attended] = {}
    if options.attend is not None:
        there = [str(path) for path in paths.values() if path.is_file()]
        attended = options.attend(there, dump.classes) if there else {}
    found = decisions.predict(dump.scores[list(chosen)])
    examples = []
    for n, mask in zip(chosen, found):
        present, unknown = is_present(dump.targets[n]), is_unknown(dump.targets[n])
        outcomes = {
            label: outcome
            for label in np.argsort(-scores[n], kind='stable').tolist()
            if (outcome := outcome_of(mask[label], present[label], unknown[label]))
        }
        labels = [
            (outcome, _label(dump.classes[label]), f'{scores[n, label]:.2f}')
            for label, outcome in outcomes.items()
        ]
        image = read_thumbnail(paths[n])
        example = Example(
            printable(Path(dump.images[n]).name),
            '' if image is None else data_uri(image),
            labels[:SHOWN_LABELS],
            len(labels) - len(labels[:SHOWN_LABELS]),
            f'{errors[n]:.3f}',
        )
        own = attended.get(str(paths[n]))
        if own is not None:
            _draw_attention(example, own, outcomes, dump.classes)
        examples.append(example)
    return examples


def _draw_attention(
    example: Example,
    attended: Attended,
    outcomes: Mapping[int, str],
    classes: Sequence[str],
) -> None:
    view = shrink(attended.view)
    # What went wrong says more.
    order = sorted(outcomes, key=lambda label: outcomes[label] == 'correct')
    for label in order[:ATTENDED]:
        name = _label(classes[label])
        if peak(attended.maps[label]) < EVEN:
            example.even.append(name)
            continue
        uri = data_uri(attention_overlay(view, attended.maps[label]))
        words = OUTCOMES[outcomes[label]][1]
        text = f'Where the network looks for {name}, {words[2:]}'
        example.maps.append(Picture(f'{words[0]}\u00a0{name}', uri=uri, text=text))


def _image_path(name: str, work: WorkFolder) -> Path:
    """Where an image probably is: as named, or from the folder of the report."""
    path = Path(name)
    if path.is_absolute() or path.is_file():
        return path
    return work.path / path


def _checks(content: Mapping[str, Any]) -> Iterable[tuple[str, str, list[str]]]:
    """Level, text and examples of each finding about the data."""
    for finding in content.get('findings', []):
        if not isinstance(finding, Mapping):
            continue
        where = ', '.join(map(str, _list(finding.get('splits'))))
        text = f'{where}: {finding.get("message", "")}'
        examples = _list(finding.get('examples'))
        shown = [printable(str(item)) for item in examples[:5]]
        count = finding.get('count', 0)
        if isinstance(count, int) and count > len(shown) > 0:
            shown.append(f'and {count - len(shown):,} more')
        yield printable(str(finding.get('level', ''))), printable(text), shown


def _comparison(content: Mapping[str, Any]) -> tuple[list[list[str]], list[str]]:
    """The table of a fit beside its baseline, with its header, and the notes."""
    table = [
        [printable(str(cell)) for cell in row]
        for row in _list(content.get('table'))
        if isinstance(row, list)
    ]
    notes = [printable(str(note)) for note in _list(content.get('notes'))]
    return table, notes


def _commands(work: WorkFolder) -> Iterable[tuple[str, str]]:
    """Commands that make the same again, or go on from it."""

    def quoted(*words: object) -> str:
        return ' '.join(shlex.quote(str(word)) for word in words)

    folder = work.path
    if work.kind == 'fit':
        yield (
            'train again, as the config says',
            quoted(
                'mlcl', 'train', folder / 'config.py', '--work-dir', folder / 'again'
            ),
        )
        if work.options:
            yield 'fit again, from the photographs', quoted(*_fit_words(work))
    else:
        names = {
            path.name
            for step in work.steps.values()
            for path in step.glob('*.py')
            if path.name != 'neighbours.py'
        }
        given = sorted(names)[0] if len(names) == 1 else 'CONFIG'
        yield 'train again', quoted('mlcl', 'train', given, '--work-dir', 'AGAIN')
        if work.unfinished:
            yield (
                'go on',
                quoted('mlcl', 'train', given, '--work-dir', folder, '--resume'),
            )
    model = model_files(work)
    if model is None:
        return
    # In the config of a fit without test images, those of the validation stand in.
    if not work.options or (folder / 'data' / 'test.csv').is_file():
        yield (
            'score the test images',
            quoted('mlcl', 'test', *model, '--out', folder / 'test_scores.csv'),
        )
    words: list[object] = ['mlcl', 'infer', 'PHOTOGRAPHS', *model]
    if work.decisions is not None:
        words += ['--decisions', work.decisions]
    yield 'label photographs', quoted(*words)


def _fit_words(work: WorkFolder) -> list[object]:
    words: list[object] = ['mlcl', 'fit', work.options.get('source', 'PHOTOGRAPHS')]
    words += ['--out', 'AGAIN']
    for key, value in work.options.items():
        if key in ('source', 'out', 'cfg_options') or value in (None, False, 'auto'):
            continue
        words.append('--' + key.replace('_', '-'))
        if isinstance(value, list):
            words += value
        elif value is not True:
            words.append(f'{value}s' if key == 'time' else value)
    changed = work.options.get('cfg_options')
    if changed and isinstance(changed, dict):
        words.append('--cfg-options')
        words += [f'{key}={value}' for key, value in changed.items()]
    return words


def _list(value: Any) -> list:
    """A list of a JSON file; empty if it is something else."""
    return value if isinstance(value, list) else []
