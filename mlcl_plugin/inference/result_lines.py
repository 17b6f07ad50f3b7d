# SPDX-License-Identifier: Apache-2.0
"""Results as lines of JSON, in a file that can be continued."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TextIO

MAX_NAMED = 20
"""Unreadable images that a summary names."""


class ResultFile:
    """A file with one line of JSON per image.

    Args:
        path (str | PathLike): The file.
        overwrite (bool): Whether to replace a file that exists. Defaults to False.
        resume (bool): Whether to add to a file that exists. Defaults to False.

    Raises:
        FileExistsError: If the file exists and neither is set.
    """

    def __init__(
        self, path: str | PathLike, overwrite: bool = False, resume: bool = False
    ):
        self.path = Path(path)
        self.resume = resume
        if self.path.exists() and not (overwrite or resume):
            raise FileExistsError(
                f'{self.path} exists. Add resume=True to go on, or overwrite=True.'
            )

    def done_images(self) -> set[str]:
        """Names of the images that have a line in a file to be continued.

        A last line that breaks off is removed from the file.

        Raises:
            ValueError: If the file holds something else.
        """
        done: set[str] = set()
        if not self.resume or not self.path.exists():
            return done
        with self.path.open('rb+') as file:
            end = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b'\n'):
                    break
                try:
                    done.add(json.loads(line)['image'])
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(
                        f'Line {number} of {self.path} is not the result of an image. '
                        'Use another file.'
                    ) from error
                end += len(line)
            file.truncate(end)
        return done

    def open(self) -> TextIO:
        """Open the file for writing, in a folder that is made if it is missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.resume:
            return self.path.open('a', buffering=1, encoding='utf-8')
        return self.path.open('w', buffering=1, encoding='utf-8')


def to_line(result: dict, encoding: str = 'utf-8') -> str:
    r"""Write a result as a line of JSON that an encoding can hold.

    Examples:
        >>> to_line(dict(image='é.png'), 'ascii')
        '{"image": "\\u00e9.png"}\n'
    """
    line = json.dumps(result, ensure_ascii=False)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        # Names of files may contain bytes that are not text.
        line = json.dumps(result)
    return line + '\n'


def printable(name: str) -> str:
    r"""Write a name in one line, whatever it contains.

    Examples:
        >>> print(printable('two\nlines'))
        two\nlines
    """
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in name)


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
                self.named.append(f'{printable(result["image"])}: {result["error"]}')

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
