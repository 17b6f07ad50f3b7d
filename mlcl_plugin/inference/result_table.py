# SPDX-License-Identifier: Apache-2.0
"""Results as a Parquet file, which is written from lines of JSON at the end."""

import json
from collections.abc import Iterator
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.durable_files import publish

if TYPE_CHECKING:
    import pyarrow

SUFFIX = '.parquet'
SCORE = 'score:'
"""Start of the name of a column of scores, as in score dumps."""
BATCH = 10_000
"""Rows that are in memory at a time."""


class ResultTable:
    """A Parquet file with a row per image that was read.

    Rows cannot be added to a Parquet file, so a call writes lines beside it,
    ``<name>.jsonl`` (:class:`ResultFile`). They are what a call that was killed goes on
    from, and the table is written from them at the end. They stay.

    Columns: ``image``; of the labels found ``labels``, ``scores`` and ``thresholds``,
    lists of equal length; ``score:<label>`` for every label if the lines have all
    scores. Only the lines have pictures, attention, and the errors of images that could
    not be read.

    Args:
        path (str | PathLike): The table.
        overwrite (bool): Whether to replace a table that exists. Defaults to False.
        resume (bool): Whether to go on from the lines. Defaults to False.

    Raises:
        FileExistsError: If the table exists and neither is set.
        ImportError: If pyarrow is not installed.
    """

    def __init__(
        self, path: str | PathLike, overwrite: bool = False, resume: bool = False
    ):
        self.path = Path(path)
        self.resume = resume
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f'Writing {self.path} needs pyarrow: pip install "mlcl_plugin[tools]". '
                'JSON Lines (.jsonl) need nothing.'
            ) from error
        if self.path.exists() and not (overwrite or resume):
            raise FileExistsError(
                f'{self.path} exists. Add resume=True to go on, or overwrite=True.'
            )

    @property
    def lines(self) -> Path:
        """Path: The file of lines."""
        return self.path.with_name(f'{self.path.name}.jsonl')

    def begin(self) -> None:
        """Remove a table that is to be replaced: it is not of the lines to come."""
        if not self.resume:
            self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Write the table from the lines.

        Raises:
            ValueError: If the name of an image is not text.
        """
        import pyarrow
        from pyarrow import parquet

        classes = self._classes()
        schema = _schema(classes)
        part = self.path.with_name(f'{self.path.name}.part')
        results = self._results()
        with parquet.ParquetWriter(part, schema) as writer:
            while batch := list(islice(results, BATCH)):
                rows = [_row(result, classes) for result in batch]
                try:
                    table = pyarrow.Table.from_pylist(rows, schema)
                except UnicodeEncodeError as error:
                    raise ValueError(
                        f'{self.path} cannot hold the name {error.object!r:.200}, '
                        f'which is not text. The results are in {self.lines}.'
                    ) from error
                writer.write_table(table)
        publish(part, self.path)

    def _results(self) -> Iterator[dict[str, Any]]:
        """The results of images that were read."""
        with self.lines.open(encoding='utf-8') as file:
            for line in file:
                result = json.loads(line)
                if 'error' not in result:
                    yield result

    def _classes(self) -> list[str]:
        """Labels whose scores all lines have."""
        first = next(self._results(), {})
        return list(first.get('scores', ()))


def _schema(classes: list[str]) -> 'pyarrow.Schema':
    import pyarrow

    numbers = pyarrow.list_(pyarrow.float64())
    return pyarrow.schema(
        [
            ('image', pyarrow.string()),
            ('labels', pyarrow.list_(pyarrow.string())),
            ('scores', numbers),
            ('thresholds', numbers),
            *((SCORE + name, pyarrow.float64()) for name in classes),
        ]
    )


def _row(result: dict[str, Any], classes: list[str]) -> dict[str, Any]:
    found = result['labels']
    return {
        'image': result['image'],
        'labels': [label['label'] for label in found],
        'scores': [label['score'] for label in found],
        'thresholds': [label['threshold'] for label in found],
        **{SCORE + name: result['scores'][name] for name in classes},
    }
