# SPDX-License-Identifier: Apache-2.0
"""Label Studio: its exports (JSON, JSON-MIN, CSV), and tasks to import into it.

What is written are predictions: Label Studio shows them as a first answer, which people
correct.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

import msgspec
import numpy as np
from scipy.sparse import csr_array

from ...plain_text import brief, list_some
from ...targets import ABSENT, PRESENT, UNKNOWN
from ..annotation_files import check_classes, decode_json
from ..table import open_table
from .form import Files, Form, ReadOptions, WriteOptions
from .image_labels import ImageLabels

ANNOTATORS = ('error', 'any', 'all', 'majority', 'unknown')
"""What to do where annotators disagree."""
LOCAL_FILES = '/data/local-files/?d='
"""How Label Studio names an image file of its own machine."""
UPLOAD = re.compile(r'/data/upload/\d+/[0-9a-f]{8}-')
CSV_COLUMNS = {'annotation_id', 'annotator', 'lead_time'}
"""Columns of a CSV export that no other table has."""
CONTROL, IMAGE = 'labels', 'image'
"""Names in the labelling config that is written."""
# What JSON-MIN and CSV add to the data and the answers of a task.
EXTRA = {
    *CSV_COLUMNS,
    *('id', 'created_at', 'updated_at', 'agreement', 'comments'),
}


class Answer(NamedTuple):
    """What one annotator or model says of an image: choices by control."""

    image: str
    who: str
    choices: dict[str, list[str]]
    predicted: bool = False


class LabelStudioForm(Form):
    """Label Studio's exports of image classification."""

    name = 'label-studio'
    looks = "Label Studio's JSON (a list of tasks) or CSV (with annotation_id)"
    suffix = '.json'
    after_writing = (
        'To import into Label Studio; the labelling config is beside it (.xml).'
    )

    def claims(self, path: Path, keys: set[str] | None) -> bool:
        """Whether a file is a JSON list, or a CSV with Label Studio's columns."""
        if not path.is_file():
            return False
        if path.suffix.lower() == '.csv':
            with path.open('rb') as file:
                head = file.readline(65536).decode('utf-8', 'replace')
            return {cell.strip('" \r\n') for cell in head.split(',')} >= CSV_COLUMNS
        if path.suffix.lower() != '.json' or keys:
            return False
        with path.open('rb') as file:
            return file.read(1024).removeprefix(b'\xef\xbb\xbf').lstrip()[:1] == b'['

    def read(self, path: Path, options: ReadOptions) -> ImageLabels:
        """Read the images of all tasks; those without an answer are unlabelled."""
        if options.annotators not in ANNOTATORS:
            raise ValueError(
                f'annotators must be one of {ANNOTATORS}, got {options.annotators!r}.'
            )
        if path.suffix.lower() == '.csv':
            tasks = _read_csv(path, options)
        else:
            tasks = _read_json(path, options)
        return _join(path, list(tasks), options)

    def holds_unknown(self, options: WriteOptions) -> bool:
        """A label is chosen or not."""
        return False

    def prepare(self, labels: ImageLabels, path: Path, options: WriteOptions) -> Files:
        """Make the tasks, and beside them the labelling config."""
        url = LOCAL_FILES if options.image_url is None else options.image_url
        tasks = [
            dict(
                data={IMAGE: url + quote(image)},
                predictions=[dict(model_version='mlcl', result=[_result(names)])],
            )
            for image, names in _present(labels)
        ]
        config = path.with_name(f'{path.stem}.label_config.xml')
        files = [
            (path, msgspec.json.encode(tasks)),
            (config, _label_config(labels.classes).encode()),
        ]
        return lambda: files

    def dataset_config(self, path: str, options: WriteOptions) -> dict | None:
        """None: no training reads tasks, which people are to correct."""
        return None


def _present(labels: ImageLabels) -> Iterator[tuple[str, list[str]]]:
    for row, image in enumerate(labels.images):
        chosen = labels.labels_of(row, PRESENT)
        yield image, [labels.classes[label] for label in chosen]


def _result(names: Sequence[str]) -> dict:
    return dict(
        from_name=CONTROL, to_name=IMAGE, type='choices', value=dict(choices=names)
    )


def _label_config(classes: Sequence[str]) -> str:
    """The labelling config: an image, and boxes to tick."""
    choices = '\n'.join(f'    <Choice value={quoteattr(name)}/>' for name in classes)
    return (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <Choices name="{CONTROL}" toName="{IMAGE}" choice="multiple"'
        ' showInline="true">\n'
        f'{choices}\n  </Choices>\n</View>\n'
    )


def _read_json(path: Path, options: ReadOptions) -> Iterator[list[Answer]]:
    """The answers of each task of JSON or JSON-MIN."""
    content = decode_json(path.read_bytes(), str(path))
    if not isinstance(content, list):
        raise ValueError(f'{path}: expected a list of tasks, got {brief(content)}.')
    rows: dict[str, list[Answer]] = {}
    for number, task in enumerate(content):
        where = f'{path}, task {number + 1}'
        if not isinstance(task, dict):
            raise ValueError(f'{where} is {brief(task)}, expected an object.')
        if isinstance(task.get('data'), dict):
            yield _read_task(task, where, options)
        else:
            answer = _read_flat(task, where, options)
            rows.setdefault(answer.image, []).append(answer)
    # JSON-MIN has an object per annotation.
    yield from rows.values()


def _read_csv(path: Path, options: ReadOptions) -> Iterator[list[Answer]]:
    """The answers of each image of a CSV export, which has a row per annotation."""
    rows: dict[str, list[Answer]] = {}
    with open_table(str(path), delimiter=options.delimiter) as table:
        columns = list(table.columns)
        for number, cells in table.rows(columns):
            row = {c: cell for c, cell in zip(columns, cells) if cell not in ('', None)}
            answer = _read_flat(row, f'{path}, row {number}', options)
            rows.setdefault(answer.image, []).append(answer)
    yield from rows.values()


def _read_task(task: dict, where: str, options: ReadOptions) -> list[Answer]:
    """The answers of a task of the full JSON; one without choices if there is none."""
    image = _image_of(task['data'], where, options)
    answers = []
    for annotation in _objects(task, 'annotations', where):
        # Skipped by the annotator.
        if not annotation.get('was_cancelled'):
            who = str(_person(annotation.get('completed_by')))
            choices = _choices_of(annotation, where)
            answers.append(Answer(image, who, choices))
    if not answers and options.predictions:
        found = _objects(task, 'predictions', where)
        # Several models: the last one.
        for prediction in found[-1:]:
            who = str(prediction.get('model_version'))
            answers.append(Answer(image, who, _choices_of(prediction, where), True))
    return answers or [Answer(image, '', {'': []})]


def _person(value: object) -> object:
    return value.get('email', value.get('id')) if isinstance(value, dict) else value


def _objects(task: dict, key: str, where: str) -> list[dict]:
    """The objects of a list in a task; none if the key is missing."""
    found = task.get(key) or []
    if not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise ValueError(
            f"{where}: '{key}' is {brief(found)}, expected a list of objects. Export "
            'as JSON, with annotations.'
        )
    return found


def _choices_of(annotation: dict, where: str) -> dict[str, list[str]]:
    """The choices of an annotation or prediction, by control."""
    choices: dict[str, list[str]] = {}
    for result in _objects(annotation, 'result', where):
        if result.get('type') != 'choices':
            continue
        value = result.get('value')
        names = value.get('choices') if isinstance(value, dict) else None
        control = choices.setdefault(str(result.get('from_name')), [])
        control += _names(names, where)
    return choices


def _names(names: object, where: str) -> list[str]:
    if isinstance(names, str):
        return [names]
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    raise ValueError(f'{where}: the choices are {brief(names)}, expected names.')


def _read_flat(row: dict, where: str, options: ReadOptions) -> Answer:
    """An annotation of JSON-MIN or of a row of CSV.

    Answers stand beside the data of the task. Numbers and objects without choices can
    only be data.
    """
    image = _image_of(row, where, options)
    choices = {}
    for key, cell in row.items():
        if key in EXTRA or key == _image_key(row):
            continue
        value: Any = cell
        if isinstance(cell, str) and cell.startswith('{"choices"'):
            value = decode_json(cell.encode(), f"{where}, '{key}'")
        if isinstance(value, dict) and 'choices' in value:
            value = value['choices']
        elif not isinstance(value, (str, list)) and options.control != key:
            continue
        if value is None:
            continue
        try:
            choices[key] = _names(value, f"{where}, '{key}'")
        except ValueError as error:
            if options.control is None:
                raise ValueError(
                    f"{error} If '{key}' does not hold the labels, name what does: "
                    "control='NAME'."
                ) from None
            if options.control == key:
                raise
    who = str(_person(row.get('annotator', '')))
    # Without an annotation, the row is a task that nobody answered.
    if row.get('annotation_id') is None:
        return Answer(image, who, {'': []})
    return Answer(image, who, choices)


def _image_key(data: dict) -> str | None:
    """The key of the image: 'image', or else the only value that looks like a path."""
    if IMAGE in data:
        return IMAGE
    found = [
        key
        for key, value in data.items()
        if isinstance(value, str) and ('/' in value or '://' in value)
    ]
    return found[0] if len(found) == 1 else None


def _image_of(data: dict, where: str, options: ReadOptions) -> str:
    """The path of the image of a task."""
    key = _image_key(data)
    url = None if key is None else data[key]
    if not isinstance(url, str) or not url:
        raise ValueError(
            f"{where} names no image: expected '{IMAGE}' with a path or URL, got the "
            f'keys {list_some(list(data))}.'
        )
    if options.image_url is not None:
        if not url.startswith(options.image_url):
            raise ValueError(
                f'{where}: the image {brief(url)} does not begin with image_url='
                f"'{options.image_url}'."
            )
        return unquote(url.removeprefix(options.image_url))
    if url.startswith(LOCAL_FILES):
        return unquote(url.removeprefix(LOCAL_FILES))
    # Uploads get eight hex digits before their names.
    return unquote(UPLOAD.sub('', url))


def _join(
    path: Path, tasks: Sequence[list[Answer]], options: ReadOptions
) -> ImageLabels:
    """Take one answer per image, and number the labels."""
    controls = sorted({key for a in _all(tasks) for key in a.choices if key})
    control = options.control
    if control is None and len(controls) > 1:
        raise ValueError(
            f'{path} has {len(controls)} controls with choices, {list_some(controls)}: '
            "name the one that holds the labels, such as control='"
            f"{controls[0]}'."
        )
    if control is not None and control not in controls:
        raise ValueError(
            f"{path} has no choices of control='{control}', it has "
            f'{list_some(controls)}.'
        )
    control = control or (controls[0] if controls else '')
    named = {name for a in _all(tasks) for name in a.choices.get(control, [])}
    if options.classes is None:
        classes = tuple(sorted(named))
    else:
        classes = check_classes(options.classes)
        unknown = sorted(named.difference(classes))
        if unknown:
            raise ValueError(
                f'{path} has the choices {list_some(unknown)}, expected some of the '
                f'{len(classes)} classes {list_some(classes)}.'
            )
    if not classes:
        raise ValueError(f'{path} has no choice at all, expected labels.')
    index = {name: label for label, name in enumerate(classes)}
    targets = np.full((len(tasks), len(classes)), UNKNOWN, dtype=np.int8)
    disagree: list[str] = []
    for row, answers in enumerate(tasks):
        votes = [
            [index[name] for name in answer.choices.get(control, [])]
            for answer in answers
            if '' not in answer.choices
        ]
        if not votes:
            continue
        said = np.zeros((len(votes), len(classes)), dtype=np.int8)
        for vote, chosen in zip(said, votes):
            vote[chosen] = PRESENT
        differ = said.min(axis=0) != said.max(axis=0)
        if differ.any():
            label = classes[int(np.argmax(differ))]
            disagree.append(f"'{answers[0].image}' ({label})")
        targets[row] = _agree(said, options.annotators)
    if disagree and options.annotators == 'error':
        raise ValueError(
            f'{path}: annotators disagree about {len(disagree):,} of {len(tasks):,} '
            f'images, the first: {", ".join(disagree[:3])}. Choose a rule: '
            "annotators='any' (a label that anyone named is present), 'all' (that all "
            "named), 'majority' (more than half; as many for as against: unknown), or "
            "'unknown' (labels that they disagree about are unknown)."
        )
    images = tuple(answers[0].image for answers in tasks)
    return ImageLabels(classes, images, csr_array(targets))


def _all(tasks: Iterable[list[Answer]]) -> Iterator[Answer]:
    for answers in tasks:
        yield from answers


def _agree(said: np.ndarray, rule: str) -> np.ndarray:
    """Make one target per label of what A annotators said.

    Args:
        said (np.ndarray): ``(A, L)`` in {1, 0}.
        rule (str): One of :data:`ANNOTATORS`.

    Returns:
        np.ndarray: ``(L,)`` in {1, 0, -1}.
    """
    lowest, highest = said.min(axis=0), said.max(axis=0)
    if rule == 'any':
        return highest
    if rule == 'all':
        return lowest
    if rule == 'majority':
        balance = 2 * said.sum(axis=0, dtype=np.int64) - len(said)
        sides = [balance > 0, balance < 0]
        return np.select(sides, [PRESENT, ABSENT], UNKNOWN).astype(np.int8)
    return np.where(lowest == highest, lowest, UNKNOWN).astype(np.int8)
