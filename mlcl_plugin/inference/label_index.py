# SPDX-License-Identifier: Apache-2.0
"""An index of label-wise embeddings: photographs whose *dog* is like this dog.

A folder holds ``index.json`` (format, labels, settings), ``images.json`` (names of the
photographs), ``embeddings.npy`` ``(E, N, D)`` float16, unit vectors, one for each of E
labels or groups of labels and N photographs, ``scores.npy`` ``(N, L)`` float16 and,
where they are known, ``targets.npy`` ``(N, L)`` int8. There is no pickle in it.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import OtherLabelsError
from ..local_files import check_regular
from ..plain_text import brief, list_some
from ..targets import check_targets, is_known, is_present
from .nearest_rows import CHUNK, nearest_rows

FORMAT = 1
SETTINGS, IMAGES = 'index.json', 'images.json'
EMBEDDINGS, SCORES, TARGETS = 'embeddings.npy', 'scores.npy', 'targets.npy'
MAX_SETTINGS = 2**28
HELD = 2**30
"""Bytes of one label's embeddings that are held in float32 for the next queries."""
FEW = 1 / 8
"""Share of the photographs below which only their embeddings are compared."""
ENGINES = ('torch', 'faiss')


class Match(NamedTuple):
    """A photograph that was found.

    Attributes:
        image (str): Its name, usually a path.
        similarity (float): The cosine of both embeddings.
        score (float): The score of the label there.
        present (bool, optional): Whether it is annotated there; None if not known.
        place (int): Its index.
    """

    image: str
    similarity: float
    score: float
    present: bool | None
    place: int


@dataclass(eq=False)
class LabelIndex:
    """Embeddings of the labels of photographs, and what they are of.

    .. code-block:: python

        from mlcl_plugin.apis import LabelIndex

        index = LabelIndex.load('photos.index')
        for match in index.like('photos/rex.jpg', 'dog'):
            print(match.similarity, match.image)

    Args:
        embeddings (np.ndarray): ``(E, N, D)`` float16, unit vectors; may be a file in
            memory.
        scores (np.ndarray): ``(N, L)`` from 0 to 1.
        images (Sequence[str]): N different names.
        classes (Sequence[str]): L different names.
        columns (Sequence[int]): ``(L,)``, which of the E embeddings is a label's.
        fingerprint (str): Of the model and its image preparation.
        targets (np.ndarray, optional): ``(N, L)``, 1 present, 0 absent, -1 unknown.
            Defaults to None, not annotated.
        info (dict): How it was made, as JSON can hold it. Defaults to {}.

    Raises:
        ValueError: If shapes, types or names do not fit.
    """

    embeddings: np.ndarray
    scores: np.ndarray
    images: Sequence[str]
    classes: Sequence[str]
    columns: Sequence[int]
    fingerprint: str
    targets: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 3 or self.embeddings.dtype != np.float16:
            raise ValueError(
                'embeddings must be (E, N, D) in float16, got '
                f'{self.embeddings.shape} in {self.embeddings.dtype}.'
            )
        number, width = self.embeddings.shape[1], len(self.classes)
        for name, names, length in (
            ('images', self.images, number),
            ('classes', self.classes, width),
        ):
            if not all(isinstance(item, str) for item in names):
                raise ValueError(f'{name} must be text, got {brief(names)}.')
            if len(set(names)) != length or len(names) != length or length == 0:
                raise ValueError(
                    f'Expected {length} different {name}, at least one, got '
                    f'{len(names)}, {len(set(names))} of them different.'
                )
        for name, values in (('scores', self.scores), ('targets', self.targets)):
            if values is not None and values.shape != (number, width):
                raise ValueError(
                    f'{name} must be ({number}, {width}), a row for each image and a '
                    f'column for each label, got {values.shape}.'
                )
        if self.targets is not None:
            check_targets(self.targets, name='targets')
        columns = list(self.columns)
        allowed = range(len(self.embeddings))
        if len(columns) != width or any(column not in allowed for column in columns):
            raise ValueError(
                f'columns must be {width} numbers from 0 to {len(allowed) - 1}, got '
                f'{brief(columns)}.'
            )
        self._places = {name: place for place, name in enumerate(self.images)}
        self._held: tuple[int, str, Tensor] | None = None

    @classmethod
    def load(cls, folder: str | PathLike) -> 'LabelIndex':
        """Open an index. Embeddings stay in their file until they are needed.

        Args:
            folder (str | PathLike): What :func:`build_index` has written.

        Returns:
            LabelIndex: The index.

        Raises:
            FileNotFoundError: If there is no index.
            ValueError: If a file is damaged, of another format, or does not fit the
                others.
        """
        path = Path(folder)
        if not (path / SETTINGS).exists():
            raise FileNotFoundError(
                f'There is no index {path}: it has no {SETTINGS}. `mlcl index build` '
                'makes one.'
            )
        settings = _read_json(path / SETTINGS, dict)
        if settings.get('format') != FORMAT:
            raise ValueError(
                f'{path} has the format {settings.get("format")!r:.40}, expected '
                f'{FORMAT}. Build it again with this version.'
            )
        arrays = {
            name: _open_array(path / name, dtype)
            for name, dtype in (
                (EMBEDDINGS, np.float16),
                (SCORES, np.float16),
                (TARGETS, np.int8),
            )
            if name != TARGETS or (path / TARGETS).exists()
        }
        try:
            return cls(
                arrays[EMBEDDINGS],
                arrays[SCORES],
                _read_json(path / IMAGES, list),
                tuple(settings['classes']),
                settings['columns'],
                str(settings['fingerprint']),
                arrays.get(TARGETS),
                settings.get('info') or {},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f'{path} is no index: {error!s:.300}') from error

    def save_settings(self, folder: Path) -> None:
        """Write everything but the arrays; see :func:`build_index`."""
        content = dict(
            format=FORMAT,
            classes=list(self.classes),
            columns=[int(column) for column in self.columns],
            fingerprint=self.fingerprint,
            info=self.info,
        )
        (folder / IMAGES).write_text(json.dumps(list(self.images)))
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / SETTINGS).write_text(text + '\n', encoding='utf-8')

    def label(self, name: str) -> int:
        """The index of a label.

        Raises:
            ValueError: If there is no such label.
        """
        if name not in self.classes:
            raise ValueError(
                f'There is no label={name!r}, expected one of '
                f'{list_some(self.classes, 100)}.'
            )
        return list(self.classes).index(name)

    def place(self, image: str | PathLike) -> int | None:
        """The index of a photograph, by its name or its path; None if there is none."""
        path = os.fspath(image)
        for name in (path, os.path.abspath(path), os.path.relpath(path)):
            if name in self._places:
                return self._places[name]
        return None

    def check_model(self, fingerprint: str, classes: Sequence[str]) -> None:
        """Refuse a model whose embeddings cannot be compared with these.

        Raises:
            OtherLabelsError: If it has other labels.
            ValueError: If it has other weights or prepares images in another way.
        """
        if tuple(classes) != tuple(self.classes):
            raise OtherLabelsError(
                f'The index is of the labels {list_some(self.classes)}, and the model '
                f'has {list_some(tuple(classes))}.'
            )
        if fingerprint != self.fingerprint:
            raise ValueError(
                'The index was made by another model, or images were prepared in '
                f'another way (config {self.info.get("config")}, checkpoint '
                f'{self.info.get("checkpoint")}). Use that one, or build the index '
                'again.'
            )

    def having(self, label: str, thr: float = 0.5) -> np.ndarray:
        """Which photographs have a label: as annotated, and else by score.

        Args:
            label (str): The label.
            thr (float): The lowest score that counts. Defaults to 0.5.

        Returns:
            np.ndarray: ``(N,)`` bool.
        """
        column = self.label(label)
        found = np.asarray(self.scores[:, column], dtype=np.float32) >= thr
        if self.targets is None:
            return found
        targets = np.asarray(self.targets[:, column])
        return np.where(is_known(targets), is_present(targets), found)

    def vectors(self, label: str, places: np.ndarray | None = None) -> Tensor:
        """Unit vectors ``(n, D)`` of a label in chosen or all photographs, float32."""
        rows = self.embeddings[self.columns[self.label(label)]]
        return _unit_vectors(rows if places is None else rows[places])

    def search(
        self,
        label: str,
        queries: Tensor,
        number: int = 10,
        *,
        having: bool = True,
        thr: float = 0.5,
        without: Sequence[int] = (),
        engine: str = 'torch',
        device: str = 'cpu',
    ) -> list[list[Match]]:
        """Find the photographs whose embeddings of a label are most like others.

        The search is exact: one product of matrices, in parts.

        Args:
            label (str): The label.
            queries (Tensor): ``(Q, D)`` embeddings of this label.
            number (int): Largest number of photographs for each. Defaults to 10.
            having (bool): Only photographs that have the label, see :meth:`having`.
                Defaults to True.
            thr (float): The lowest score that counts. Defaults to 0.5.
            without (Sequence[int]): Photographs to leave out, by their index.
            engine (str): ``'torch'``, or ``'faiss'``. Defaults to ``'torch'``.
            device (str): Where torch computes. Defaults to ``'cpu'``.

        Returns:
            list[list[Match]]: For each query, by falling similarity.

        Raises:
            ImportError: If faiss is asked for and not installed.
            ValueError: If there is no such label or engine, a shape does not fit, or
                ``number`` is not positive.
        """
        width = self.embeddings.shape[2]
        if queries.ndim != 2 or queries.shape[1] != width:
            raise ValueError(
                f'queries must be (Q, {width}), got {tuple(queries.shape)}.'
            )
        if engine not in ENGINES:
            raise ValueError(f'engine must be one of {ENGINES}, got {engine!r}.')
        chosen = np.ones(len(self.images), dtype=bool)
        if having:
            chosen = self.having(label, thr)
        chosen[list(without)] = False
        places = np.flatnonzero(chosen)
        queries = F.normalize(queries.detach().float(), dim=1).to(device)
        if engine == 'faiss':
            products, found = self._by_faiss(label, queries, places, number)
        else:
            few = len(places) < FEW * len(self.images)
            products, found = nearest_rows(
                queries,
                self._rows(label, places if few else None, device),
                len(places) if few else len(self.images),
                number,
                allowed=None if few else torch.from_numpy(chosen).to(device),
            )
            if not few:
                # As below, places among those that may be found.
                places = np.arange(len(self.images))
        column = self.label(label)
        return [
            [
                self._match(int(places[n]), product, column)
                for product, n in zip(row.tolist(), own.tolist())
                if n >= 0
            ]
            for row, own in zip(products, found)
        ]

    def like(
        self, image: str | PathLike, label: str, number: int = 10, **options: Any
    ) -> list[Match]:
        """Find photographs whose label is like that of one of the index.

        Args:
            image (str | PathLike): A photograph of the index.
            label (str): The label.
            number (int): Largest number of photographs. Defaults to 10.
            **options: Of :meth:`search`.

        Returns:
            list[Match]: Others, by falling similarity.

        Raises:
            ValueError: If the photograph is not in the index.
        """
        place = self.place(image)
        if place is None:
            raise ValueError(
                f'{os.fspath(image)!r} is not in the index of {len(self.images):,} '
                'photographs. Pass the model, so that others can be compared, too.'
            )
        query = self.vectors(label, np.array([place]))
        (matches,) = self.search(label, query, number, without=[place], **options)
        return matches

    def _match(self, place: int, similarity: float, column: int) -> Match:
        present = None
        if self.targets is not None and is_known(self.targets[place, column]):
            present = bool(is_present(self.targets[place, column]))
        return Match(
            self.images[place],
            similarity,
            float(self.scores[place, column]),
            present,
            place,
        )

    def _rows(
        self, label: str, places: np.ndarray | None, device: str
    ) -> Callable[[int, int], Tensor]:
        """A function that gives chosen or all rows of a label.

        They are held in memory if they are not too large: most queries are about the
        label of the query before.
        """
        column = self.columns[self.label(label)]
        rows = self.embeddings[column]
        if 4 * rows.size > HELD:

            def read(first: int, last: int) -> Tensor:
                own = rows[first:last] if places is None else rows[places[first:last]]
                return _unit_vectors(own).to(device)

            return read
        if self._held is None or self._held[:2] != (column, device):
            parts = [
                _unit_vectors(rows[first : first + CHUNK])
                for first in range(0, len(rows), CHUNK)
            ]
            self._held = (column, device, torch.cat(parts).to(device))
        held = self._held[2]
        if places is not None:
            held = held[torch.from_numpy(places).to(device)]
        return lambda first, last: held[first:last]

    def _by_faiss(
        self, label: str, queries: Tensor, places: np.ndarray, number: int
    ) -> tuple[Tensor, Tensor]:
        """Search by faiss, exactly; -1 stands for no photograph."""
        if number < 1:
            raise ValueError(f'number must be positive, got number={number}.')
        try:
            import faiss
        except ImportError as error:
            raise ImportError(
                "engine='faiss' needs faiss: run `pip install faiss-cpu`."
            ) from error
        index = faiss.IndexFlatIP(self.embeddings.shape[2])
        for first in range(0, len(places), CHUNK):
            index.add(self.vectors(label, places[first : first + CHUNK]).numpy())
        products, found = index.search(
            queries.cpu().numpy(), min(number, max(1, len(places)))
        )
        return torch.from_numpy(products), torch.from_numpy(found)


def _unit_vectors(rows: np.ndarray) -> Tensor:
    """Rows in float32, of length 1: float16 has rounded them."""
    return F.normalize(torch.from_numpy(np.array(rows)).float(), dim=1)


def _read_json(path: Path, kind: type) -> Any:
    check_regular(path)
    try:
        if path.stat().st_size > MAX_SETTINGS:
            raise ValueError(f'it has more than {MAX_SETTINGS:,} bytes')
        content = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(content, kind):
            raise ValueError(f'expected a {kind.__name__}, got {brief(content)}')
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{path} is no part of an index: {error!s:.300}') from error
    return content


def _open_array(path: Path, dtype: type) -> np.ndarray:
    check_regular(path)
    try:
        array = np.load(path, mmap_mode='r', allow_pickle=False)
    # Damaged headers raise many kinds of errors.
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise ValueError(f'{path} is no part of an index: {error!s:.300}') from error
    if array.dtype != dtype:
        raise ValueError(
            f'{path} is no part of an index: it holds {array.dtype}, expected '
            f'{np.dtype(dtype)}.'
        )
    return array
