# SPDX-License-Identifier: Apache-2.0
"""Results as lines of JSON, in a file that can be continued."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from mmengine.logging import print_log

from ..engine.durable_files import publish, write_text
from ..local_files import check_regular
from ..plain_text import printable
from .made_with import describe_change

MAX_NAMED = 20
"""Unreadable images that a summary names."""


class ResultFile:
    """A file with one line of JSON per image.

    Beside it, ``<name>.made_with.json`` records what the lines were made with, so that
    another model or other thresholds do not add lines of another kind.

    Args:
        path (str | PathLike): The file.
        overwrite (bool): Whether to replace a file that exists. Defaults to False.
        resume (bool): Whether to add to a file that exists. Defaults to False.

    Raises:
        FileExistsError: If the file exists and neither is set.
        ValueError: If it is to be added to, but is a pipe or device.
    """

    def __init__(
        self, path: str | PathLike, overwrite: bool = False, resume: bool = False
    ):
        self.path = Path(path)
        self.resume = resume
        if resume:
            # What it holds is read.
            check_regular(self.path)
            check_regular(self.record)
        if self.path.exists() and not (overwrite or resume):
            raise FileExistsError(
                f'{self.path} exists. Add resume=True to go on, or overwrite=True.'
            )

    @property
    def record(self) -> Path:
        """Path: The file that says what the lines were made with."""
        return self.path.with_name(f'{self.path.name}.made_with.json')

    def check(self, now: Mapping[str, Any]) -> None:
        """Refuse to continue a file that was made in another way.

        Args:
            now (Mapping): What :func:`made_with` gives.

        Raises:
            ValueError: If the file to be continued was made with something else.
        """
        if not self.resume or not self.path.exists() or not self.path.stat().st_size:
            return
        try:
            before = json.loads(self.record.read_text(encoding='utf-8'))
        except FileNotFoundError:
            print_log(
                f'{self.record} is missing, so it is not known whether {self.path} was '
                'made with the same model and options.',
                logger='current',
                level=logging.WARNING,
            )
            return
        except (ValueError, RecursionError):
            before = None
        if not isinstance(before, dict):
            raise ValueError(f'{self.record} is damaged. Use another file.')
        change = describe_change(before, now)
        if change is not None:
            raise ValueError(
                f'{self.path} was made with {change}. Use another file, or replace it '
                'by overwrite=True.'
            )

    def done_images(self) -> set[str]:
        """Names of the images that have a line in a file to be continued.

        A last line that breaks off is removed from the file. So are the lines of images
        that could not be read, which are tried again.

        Raises:
            ValueError: If the file holds something else.
        """
        done: set[str] = set()
        if not self.resume or not self.path.exists():
            return done
        failed = False
        with self.path.open('rb+') as file:
            end = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b'\n'):
                    break
                name, has_error = self._parse(line, number)
                if has_error:
                    failed = True
                else:
                    done.add(name)
                end += len(line)
            file.truncate(end)
        if failed:
            self._remove_errors()
        return done

    def _parse(self, line: bytes, number: int) -> tuple[str, bool]:
        """The name of the image of a line, and whether it could not be read."""
        try:
            result = json.loads(line)
            name = result['image']
            if not isinstance(name, str):
                raise TypeError(f'image is {name!r:.80}')
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f'Line {number} of {self.path} is not the result of an image. '
                'Use another file.'
            ) from error
        return name, 'error' in result

    def _remove_errors(self) -> None:
        part = self.path.with_name(f'{self.path.name}.part')
        with self.path.open('rb') as file, part.open('wb') as kept:
            kept.writelines(line for line in file if 'error' not in json.loads(line))
        publish(part, self.path)

    def open(self, made_with: Mapping[str, Any] | None = None) -> TextIO:
        """Open the file for writing, in a folder that is made if it is missing.

        Args:
            made_with (Mapping, optional): What to record beside it. Defaults to None:
                nothing.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        adds = self.resume and self.path.exists() and self.path.stat().st_size > 0
        if made_with is not None and not adds:
            write_text(self.record, json.dumps(made_with, indent=1) + '\n')
        if self.resume:
            return self.path.open('a', buffering=1, encoding='utf-8')
        return self.path.open('w', buffering=1, encoding='utf-8')


def to_line(result: dict, encoding: str = 'utf-8') -> str:
    r"""Write a result as a line of JSON that an encoding can hold.

    Names with control characters are written with escapes: a terminal would obey them.

    Examples:
        >>> to_line(dict(image='é.png'), 'ascii')
        '{"image": "\\u00e9.png"}\n'
    """
    line = json.dumps(result, ensure_ascii=False)
    try:
        line.encode(encoding)
        plain = line.isprintable()
    except UnicodeEncodeError:
        # Names of files may contain bytes that are not text.
        plain = False
    return (line if plain else json.dumps(result)) + '\n'


@dataclass
class Summary:
    """How many images were read, how many were not, and the first of the latter."""

    number: int = 0
    unreadable: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, result: dict) -> None:
        """Count a result of :meth:`MultiLabelInferencer.stream`."""
        self.number += 1
        if 'error' in result:
            self.unreadable += 1
            if self.unreadable <= MAX_NAMED:
                self.named.append(printable(f'{result["image"]}: {result["error"]}'))

    def text(self, done: int = 0, outputs: Iterable[str | PathLike] = ()) -> str:
        """Describe what was done.

        Args:
            done (int): Images that had a result before. Defaults to 0.
            outputs (Iterable[str | PathLike]): Files and folders that were written.
                Defaults to none.

        Returns:
            str: One line, and more for images that cannot be read.
        """
        first = f'{self.number - self.unreadable:,} of {self.number:,} images read'
        if done:
            first += f', {done:,} had a line before'
        lines = [''.join([first, *(f', {output}' for output in outputs)])]
        if self.unreadable:
            lines.append(f'{self.unreadable:,} cannot be read:')
            lines += [f'  {line}' for line in self.named]
        if self.unreadable > len(self.named):
            lines.append(
                f'  and {self.unreadable - len(self.named):,} more, which have an '
                '"error" in their lines'
            )
        return '\n'.join(lines)


def write_results(results: Iterable[dict], out: TextIO) -> Summary:
    """Write results to a stream, each as soon as it is there.

    Args:
        results (Iterable[dict]): See :meth:`MultiLabelInferencer.stream`.
        out (TextIO): Where to.

    Returns:
        Summary: Of the results.
    """
    summary = Summary()
    for result in results:
        summary.add(result)
        out.write(to_line(result, out.encoding or 'utf-8'))
    return summary
