# SPDX-License-Identifier: Apache-2.0
"""The parts of the page that change, as HTML."""

import logging
import traceback
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from mmengine.logging import print_log

from ..plain_text import printable
from ..reports.page.thumbnails import data_uri, read_thumbnail
from .uploads import MEGABYTE, UploadError
from .viewer import PhotographViewer, Seen

FOLDER = Path(__file__).parent
MOST_LABELS = 10
"""Labels that are shown at once, beside those that were found."""
ALL_LABELS = 200
"""Labels that are shown on request."""
UNEXPECTED = (
    'Something went wrong with this photograph; the program goes on. The terminal that '
    'it runs in shows what. Try another photograph.'
)


class Panels(NamedTuple):
    """HTML of the parts: a message, the picture, the neighbours, the labels."""

    message: str
    picture: str
    neighbours: str
    labels: str


class PanelWriter:
    """Writes the parts of the page. Every text is escaped.

    Args:
        viewer (PhotographViewer): The model.
        images (Path, optional): Folder of the training images, to show them. Defaults
            to None: their names are shown.

    Raises:
        FileNotFoundError: If there is no such folder.
    """

    def __init__(self, viewer: PhotographViewer, images: Path | None = None) -> None:
        if images is not None and not images.is_dir():
            raise FileNotFoundError(f'There is no folder images={str(images)!r}.')
        self.viewer = viewer
        self.images = images

    def empty(self) -> Panels:
        """The page before a photograph is there."""
        limits = self.viewer.limits
        text = (
            f'Up to {limits.max_bytes / MEGABYTE:,.4g} MB and '
            f'{limits.max_pixels / 1e6:,.4g} million pixels. It goes to this program '
            'alone, which forgets it within an hour.'
        )
        return Panels(_render('message', text=text, error=False), '', '', '')

    def opened(
        self, path: Path | None, threshold: float | None = None
    ) -> tuple[Seen | None, Panels]:
        """Look at a photograph.

        Args:
            path (Path, optional): The file; None if there is none any more.
            threshold (float, optional): One for all labels. Defaults to None, the own
                one of each label.

        Returns:
            tuple[Seen | None, Panels]: What the model said, None if the file cannot be
            used, and the parts of the page, whose message then says why.
        """
        if path is None:
            return None, self.empty()
        try:
            seen = self.viewer.look(path)
            return seen, self._show(seen, threshold, None)
        except UploadError as error:
            return None, _problem(str(error))
        # One photograph must not end the page for all others.
        except Exception:
            return None, _unexpected(path.name)

    def show(
        self, seen: Seen, threshold: float | None = None, label: int | None = None
    ) -> Panels:
        """Write all parts for a photograph.

        Args:
            seen (Seen): The photograph.
            threshold (float, optional): See :meth:`opened`.
            label (int, optional): The label that was chosen. Defaults to None.
        """
        try:
            return self._show(seen, threshold, label)
        # As above.
        except Exception:
            return _unexpected(seen.name)

    def _show(self, seen: Seen, threshold: float | None, label: int | None) -> Panels:
        return Panels(
            '',
            self.picture(seen, label),
            '' if label is None else self.neighbours(seen, label),
            self.labels(seen, threshold, label),
        )

    def picture(self, seen: Seen, label: int | None = None) -> str:
        """Write the photograph, with the attention of a label where one is chosen."""
        overlay = None if label is None else self.viewer.overlay(seen, label)
        return _render(
            'picture',
            name=seen.name,
            label=None if label is None else self.viewer.classes[label],
            photo=data_uri(seen.photo) if overlay is None else None,
            overlay=overlay,
            hint=self._hint(),
        )

    def labels(
        self, seen: Seen, threshold: float | None = None, label: int | None = None
    ) -> str:
        """Write all labels with their scores as bars."""
        rows = self.viewer.rows(seen, threshold)
        found = sum(row.found for row in rows)
        # By falling score; one that is found may come after one that is not.
        first = max(
            [MOST_LABELS, *(place for place, row in enumerate(rows, 1) if row.found)]
        )
        more = rows[first : max(first, ALL_LABELS)]
        return _render(
            'labels',
            rows=rows[:first],
            more=more,
            found=found,
            left_out=len(rows) - first - len(more),
            threshold=threshold,
            chosen=label,
            open=any(row.index == label for row in more),
        )

    def neighbours(self, seen: Seen, label: int) -> str:
        """Write the training images that speak most for a label."""
        found = [
            (item, PurePath(item.image).name, self._thumbnail(item.image))
            for item in self.viewer.neighbours(seen, label)
        ]
        return _render(
            'neighbours',
            label=self.viewer.classes[label],
            kind=self.viewer.memory_kind,
            neighbours=found,
        )

    def _hint(self) -> str:
        if self.viewer.attends:
            return 'Choose a label to see where the model looked for it.'
        return 'This model cannot show where it looked: it has no attention of labels.'

    def _thumbnail(self, name: str) -> str | None:
        """A training image as a ``data:`` address, if it is in the folder."""
        if self.images is None:
            return None
        folder = self.images.resolve()
        for path in (folder / name, folder / PurePath(name).name):
            # Names come with the checkpoint, and may lead anywhere.
            if not path.resolve().is_relative_to(folder):
                continue
            thumbnail = read_thumbnail(path)
            if thumbnail is not None:
                return data_uri(thumbnail)
        return None


def _problem(text: str) -> Panels:
    return Panels(_render('message', text=text, error=True), '', '', '')


def _unexpected(name: str) -> Panels:
    """Log an error with its traceback, and tell the page that there was one."""
    print_log(
        f'{printable(name)}: {traceback.format_exc()}',
        logger='current',
        level=logging.ERROR,
    )
    return _problem(UNEXPECTED)


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['printable'] = printable
    return environment


def _render(template: str, /, **values: object) -> str:
    """Fill one of the templates ``TEMPLATE.html.j2``."""
    text = (FOLDER / f'{template}.html.j2').read_text(encoding='utf-8')
    return _environment().from_string(text).render(**values)
