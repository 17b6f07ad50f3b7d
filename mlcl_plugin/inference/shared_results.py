# SPDX-License-Identifier: Apache-2.0
"""Results of several processes that share the images of one call."""

import glob
import heapq
import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import distributed

from .result_lines import MAX_NAMED, ResultFile, Summary
from .sources import Inputs, select_sources

PATIENCE = timedelta(days=30)
"""For how long the first process waits for the last one."""


def join_processes() -> str | None:
    """Join the processes that torchrun has started.

    Returns:
        str | None: The GPU of this process, or None where there is none.

    Raises:
        ValueError: If this process was not started by torchrun.
    """
    missing = [name for name in ('RANK', 'WORLD_SIZE') if name not in os.environ]
    if missing:
        raise ValueError(
            "launcher='pytorch' needs a start by torchrun, which sets "
            f'{" and ".join(missing)}: use tools/dist_infer.sh.'
        )
    distributed.init_process_group('gloo', timeout=PATIENCE)
    if not torch.cuda.is_available():
        return None
    local = int(os.environ.get('LOCAL_RANK', 0))
    return f'cuda:{local % torch.cuda.device_count()}'


@dataclass
class Others(Container):
    """The names of all images but those of one process."""

    own: set[str]

    def __contains__(self, name: object) -> bool:
        return name not in self.own


class SharedResultFile:
    """A :class:`ResultFile` that several processes fill.

    Each process writes the lines of every N-th image to a file of its own beside the
    file. At the end the first process adds them to the file, in the order of the
    images, and removes them. After a kill they are added when the file is continued, by
    any number of processes.

    All processes make the same calls in the same order.

    Args:
        path (str | PathLike): The file, which all processes see.
        overwrite (bool): Whether to replace a file that exists. Defaults to False.
        resume (bool): Whether to add to a file that exists. Defaults to False.

    Raises:
        FileExistsError: If there are results and neither is set.
        ValueError: As in :class:`ResultFile`.
    """

    def __init__(
        self, path: str | PathLike, overwrite: bool = False, resume: bool = False
    ):
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self._file = ResultFile(path, overwrite, resume)
        self._parts = self._find_parts()
        if self._parts and not (overwrite or resume):
            raise FileExistsError(
                f'{self._parts[0]} exists, of a call that did not end. Add resume=True '
                'to go on, or overwrite=True.'
            )
        self._own = ResultFile(self._part(self.rank), overwrite=True)
        self._names: list[str] = []
        # No process writes before all have looked.
        self.wait()

    def _part(self, rank: int) -> Path:
        return self._file.path.with_name(f'{self._file.path.name}.rank{rank}')

    def _find_parts(self) -> list[Path]:
        pattern = glob.escape(self._file.path.name) + '.rank*[0-9]'
        return sorted(self._file.path.parent.glob(pattern))

    @property
    def leads(self) -> bool:
        """bool: Whether this is the process that writes the file."""
        return self.rank == 0

    def share(
        self, made: Mapping[str, Any], inputs: Inputs, recursive: bool = False
    ) -> tuple[set[str], Container[str]]:
        """Find out what this process has to do.

        Args:
            made (Mapping): What :func:`made_with` gives.
            inputs (Inputs): The images of all processes.
            recursive (bool): As in :meth:`MultiLabelInferencer.stream`.

        Returns:
            tuple[set[str], Container[str]]: Names of the images that have a line, and
            of those that this process leaves out: these, and what others do.

        Raises:
            ValueError: If what is to be continued was made in another way, or is
                damaged.
        """
        found: list[Any] = [None]
        if self.leads:
            # An error is one of all processes: none must wait for this one.
            try:
                found = [self._take_parts(made)]
            except (OSError, ValueError) as error:
                found = [error]
        distributed.broadcast_object_list(found)
        if isinstance(found[0], Exception):
            raise found[0]
        done: set[str] = found[0]
        sources = select_sources(inputs, recursive, done).sources
        # An image that is named twice is computed twice, by the same process.
        self._names = list(dict.fromkeys(source.name for source in sources))
        return done, Others(set(self._names[self.rank :: self.world]))

    def _take_parts(self, made: Mapping[str, Any]) -> set[str]:
        """Add what processes left that were killed; gives the images that are done."""
        if not self._file.resume:
            _remove([self._file.path, *self._parts])
            return set()
        self._file.check(made)
        done = self._file.done_images()
        for path in self._parts:
            part = ResultFile(path, resume=True)
            part.check(made)
            new = part.done_images() - done
            with self._file.open(made) as out:
                out.writelines(x for x in _lines(path) if _name(x) in new)
            done |= new
        _remove(self._parts)
        return done

    def wait(self) -> None:
        """Wait until all processes do so."""
        distributed.barrier()

    def open(self, made: Mapping[str, Any]) -> TextIO:
        """Open the file of this process for writing."""
        return self._own.open(made)

    def finish(self, made: Mapping[str, Any], summary: Summary) -> Summary:
        """Wait for all, and let the first process join the files.

        Args:
            made (Mapping): As before.
            summary (Summary): Of this process.

        Returns:
            Summary: Of all processes.
        """
        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, summary)
        total = Summary()
        for one in found:
            total.number += one.number
            total.unreadable += one.unreadable
            total.named = (total.named + one.named)[:MAX_NAMED]
        if self.leads:
            parts = [self._part(rank) for rank in range(self.world)]
            place = {name: n for n, name in enumerate(self._names)}
            lines = heapq.merge(
                *map(_lines, parts), key=lambda line: place[_name(line)]
            )
            with self._file.open(made) as out:
                out.writelines(lines)
            _remove(parts)
        self.wait()
        return total


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding='utf-8') as file:
        yield from file


def _name(line: str) -> str:
    return json.loads(line)['image']


def _remove(paths: Iterable[Path]) -> None:
    """Remove files of results, and what is said of them."""
    for path in paths:
        path.unlink(missing_ok=True)
        ResultFile(path, overwrite=True).record.unlink(missing_ok=True)
