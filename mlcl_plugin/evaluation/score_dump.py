# SPDX-License-Identifier: Apache-2.0
"""Scores and targets of a set of images in one file, to analyse without a model.

A ``.pkl`` is what MMEngine's ``DumpResults`` writes: a list with one dict per image.
Tables, ``.csv`` and ``.parquet``, have one row per image and the columns ``image``,
``score:<label>`` and ``target:<label>`` of every label: 1 present, 0 absent, empty
unknown.
"""

import csv
import io
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from mmengine.fileio import get, put

from ..local_files import check_regular
from ..names_file import read_names
from ..plain_text import brief, list_some
from ..targets import check_targets, is_unknown
from .safe_pickle import load_samples
from .samples import read_samples

SUFFIXES = ('.pkl', '.csv', '.parquet')
IMAGE, SCORE, TARGET = 'image', 'score:', 'target:'


@dataclass(frozen=True, eq=False)
class ScoreDump:
    """Scores and targets of N images and L labels.

    Args:
        scores (np.ndarray): ``(N, L)``, kept as float32, in which
            :class:`MultiLabelRecognitionMetric` compares them.
        targets (np.ndarray): ``(N, L)``, 1 present, 0 absent, -1 unknown, kept as int8.
        classes (Sequence[str]): L different names.
        images (Sequence[str]): N names, usually paths.

    Raises:
        ValueError: If there is no image or label, a shape does not fit the others, a
            name is no string, two labels have one name, a score is nan, or a target is
            not 1, 0 or -1.
    """

    scores: np.ndarray
    targets: np.ndarray
    classes: Sequence[str]
    images: Sequence[str]

    def __post_init__(self) -> None:
        classes, images = tuple(self.classes), tuple(self.images)
        scores = np.asarray(self.scores, dtype=np.float32)
        given = np.asarray(self.targets)
        shape = (len(images), len(classes))
        if scores.shape != shape or given.shape != shape or 0 in shape:
            raise ValueError(
                f'Expected scores and targets {shape} of {shape[0]} images and '
                f'{shape[1]} labels, at least one of each, got {scores.shape} and '
                f'{given.shape}.'
            )
        for kind, names in (('classes', classes), ('images', images)):
            if not all(isinstance(name, str) for name in names):
                raise ValueError(f'{kind} must be strings, got {names!r:.200}.')
        if len(set(classes)) < len(classes):
            twice = sorted(name for name, n in Counter(classes).items() if n > 1)
            raise ValueError(
                f'classes must be different names, twice came {list_some(twice)}.'
            )
        wrong = np.isnan(scores)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"{wrong.sum()} scores are missing or nan, the first one is '"
                f"{classes[column]}' of {images[row]}."
            )
        check_targets(
            given,
            name='Targets (in a table, an empty cell is unknown)',
            where=lambda place: f" for '{classes[place[1]]}' of {images[place[0]]}",
        )
        for key, value in (
            ('scores', scores),
            ('targets', given.astype(np.int8)),
            ('classes', classes),
            ('images', images),
        ):
            object.__setattr__(self, key, value)

    @classmethod
    def from_samples(
        cls, samples: Sequence[dict], classes: Sequence[str] | None = None
    ) -> 'ScoreDump':
        """Take scores and targets from the outputs of a model.

        Args:
            samples (Sequence[dict]): Each a dict or ``DataSample`` with the fields of
                :func:`read_samples`, and perhaps ``img_path`` and ``classes``.
            classes (Sequence[str], optional): L names. Defaults to those of the first
                sample.

        Returns:
            ScoreDump: The samples in their order; those without ``img_path`` are named
            by their place, ``'#0'``, ``'#1'``, ...

        Raises:
            ValueError: If there is no sample, a sample is wrong, or there are no names.
        """
        if len(samples) == 0:
            raise ValueError('It holds no image.')
        classes = samples[0].get('classes') if classes is None else classes
        if classes is None:
            raise ValueError(
                'It holds no names of labels, like the files that MMPretrain writes. '
                'Pass classes=FILE, a text file with one name per line, or write the '
                "dump with DumpScores and a dataset with 'classes' in its metainfo."
            )
        scores, targets = read_samples(samples, len(classes))
        return cls(
            scores.numpy(),
            targets.numpy(),
            classes,
            [str(s.get('img_path', f'#{i}')) for i, s in enumerate(samples)],
        )

    @classmethod
    def load(
        cls,
        path: str | PathLike,
        classes: Sequence[str] | str | PathLike | None = None,
    ) -> 'ScoreDump':
        """Read a file that :class:`DumpScores` has written.

        No code of a file is run: of a ``.pkl`` only lists, dicts, data samples,
        tensors, numbers and text are read.

        Args:
            path (str | PathLike): A ``.pkl``, ``.csv`` or ``.parquet``; may be remote.
            classes (Sequence[str] | str | PathLike, optional): Names of the labels, or
                a text file with one per line. Needed for a ``.pkl`` that MMPretrain
                has written. Other files must have the same names. Defaults to None.

        Returns:
            ScoreDump: Its content.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no score dump, has an image twice, or names differ from
                ``classes``.
        """
        path = str(path)
        _check_suffix(path)
        if isinstance(classes, str | PathLike):
            classes = read_names(classes)
        check_regular(path)
        try:
            content = get(path)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(
                f'There is no score dump {path}. The metric DumpScores writes one.'
            ) from error
        try:
            if path.endswith('.pkl'):
                dump = _from_pickle(content, classes)
            else:
                dump = _from_table(content, path.endswith('.csv'))
        # Damaged Parquet files raise OSError.
        except (TypeError, ValueError, OSError, csv.Error) as error:
            raise ValueError(f'{path} is no score dump: {error!s:.500}') from error
        twice = [name for name, n in Counter(dump.images).items() if n > 1]
        if twice:
            raise ValueError(
                f'{path} has the same image several times, such as {brief(twice[0])} '
                f'({len(twice):,} images in all), and metrics would count each time. '
                'Keep one row per image.'
            )
        if classes is not None and dump.classes != tuple(classes):
            raise ValueError(
                f'{path} has the labels {list(dump.classes)!r:.200}, expected '
                f'{list(classes)!r:.200}.'
            )
        return dump

    def save(self, path: str | PathLike) -> None:
        """Write a file that loads as the same dump, bit for bit.

        In a table, names of images that are no valid Unicode are written with escapes.

        Args:
            path (str | PathLike): A ``.csv`` or ``.parquet``, or a ``.pkl`` in the form
                of ``DumpResults`` with the names of the labels in every sample; may be
                remote. A missing folder is made.

        Raises:
            ValueError: If the path has another ending.
        """
        path = str(path)
        _check_suffix(path)
        if path.endswith('.pkl'):
            put(pickle.dumps(self._samples()), path)
            return
        if path.endswith('.csv'):
            put(self._to_csv().encode(), path)
            return
        # Training alone does not need pandas.
        import pandas as pd

        targets = self.targets.astype('object')
        targets[is_unknown(self.targets)] = None
        blocks = [
            pd.DataFrame({IMAGE: [_printable(name) for name in self.images]}),
            pd.DataFrame(self.scores, columns=[SCORE + name for name in self.classes]),
            pd.DataFrame(
                targets, columns=[TARGET + name for name in self.classes], dtype='Int8'
            ),
        ]
        table = pd.concat(blocks, axis=1)
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        put(buffer.getvalue(), path)

    def _to_csv(self) -> str:
        """Write the table as text. pandas takes minutes for 10,000 columns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        columns = [kind + name for kind in (SCORE, TARGET) for name in self.classes]
        writer.writerow([IMAGE, *columns])
        for image, scores, targets in zip(self.images, self.scores, self.targets):
            # Nine digits tell any two float32 numbers apart.
            numbers = [f'{score:.9g}' for score in scores.tolist()]
            cells = targets.astype(object)
            cells[is_unknown(targets)] = ''
            writer.writerow([_printable(image), *numbers, *cells])
        return text.getvalue()

    def _samples(self) -> list[dict[str, Any]]:
        """Return the samples in the form of ``DumpResults``."""
        return [
            dict(
                img_path=image,
                classes=self.classes,
                pred_score=torch.from_numpy(score.copy()),
                gt_score=torch.from_numpy(target.astype(np.float32)),
            )
            for image, score, target in zip(self.images, self.scores, self.targets)
        ]


def _printable(name: str) -> str:
    """Make a name that UTF-8 can write. Names of files may hold any bytes."""
    return name.encode('utf-8', 'backslashreplace').decode()


def _check_suffix(path: str) -> None:
    if not path.endswith(SUFFIXES):
        raise ValueError(f'A score dump ends with one of {SUFFIXES}, got {path}.')


def _from_pickle(content: bytes, classes: Sequence[str] | None) -> ScoreDump:
    samples = load_samples(content)
    if not isinstance(samples, list) or not all(
        isinstance(sample, dict) for sample in samples
    ):
        raise ValueError(
            f'expected a list of dicts, got {type(samples).__name__}. A file of '
            'metrics is no score dump.'
        )
    return ScoreDump.from_samples(samples, classes)


def _from_table(content: bytes, is_csv: bool) -> ScoreDump:
    import pandas as pd

    if is_csv:
        text = content.decode('utf-8-sig')
        rows = csv.reader(io.StringIO(text, newline=''), strict=True)
        names = next(rows, [])
        # pandas would take an extra field as an index and shift all others.
        for number, row in enumerate(rows, 2):
            if row and len(row) != len(names):
                raise ValueError(
                    f'row {number} has {len(row)} fields, expected {len(names)} as in '
                    'the header.'
                )
    else:
        try:
            table = pd.read_parquet(io.BytesIO(content))
        except ImportError:
            raise
        # Damaged metadata make Arrow and pandas raise nearly anything.
        except Exception as error:
            raise ValueError(str(error) or type(error).__name__) from error
        names = [str(name) for name in table.columns]
    classes = _label_names(names)
    columns = [[kind + name for name in classes] for kind in (SCORE, TARGET)]
    if is_csv:
        numbers = dict.fromkeys(columns[0] + columns[1], np.float64)
        table = pd.read_csv(
            io.StringIO(text, newline=''),
            dtype={IMAGE: str, **numbers},
            # A photograph may be called 'NA'.
            keep_default_na=False,
            na_values=dict.fromkeys(numbers, ['']),
            index_col=False,
        )
    scores, targets = (table[c].to_numpy(np.float64, na_value=np.nan) for c in columns)
    return ScoreDump(
        scores, np.where(np.isnan(targets), -1, targets), classes, table[IMAGE]
    )


def _label_names(columns: list[str]) -> list[str]:
    """Read the labels from the names of the columns."""
    if len(set(columns)) < len(columns):
        twice = sorted(name for name, n in Counter(columns).items() if n > 1)
        raise ValueError(f'columns come twice: {twice!r:.200}.')
    scores, targets = (
        [name.removeprefix(kind) for name in columns if name.startswith(kind)]
        for kind in (SCORE, TARGET)
    )
    if IMAGE not in columns or not scores or set(scores) != set(targets):
        lonely = sorted(set(scores) ^ set(targets))
        raise ValueError(
            f"expected the columns '{IMAGE}', '{SCORE}<label>' and '{TARGET}<label>' "
            f'for every label, got {columns!r:.200}'
            + (f'; with one of both: {lonely!r:.200}.' if lonely else '.')
        )
    return scores
