# SPDX-License-Identifier: Apache-2.0
"""Write a sheet of photographs as one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...plain_text import printable
from ..page.thumbnails import data_uri, read_thumbnail

FOLDER = Path(__file__).parent
STYLE = FOLDER.parent / 'page' / 'report.css'


class Line(NamedTuple):
    """A line below a photograph; a soft one is small and grey."""

    text: str
    soft: bool = False


class Card(NamedTuple):
    """A photograph with a heading and lines."""

    path: Path
    title: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Sheet:
    """What a sheet shows.

    Attributes:
        title (str): The heading.
        notes (Sequence[str]): Paragraphs below it.
        cards (Sequence[Card]): The photographs, in their order.
    """

    title: str
    notes: Sequence[str]
    cards: Sequence[Card]


def write_sheet(sheet: Sheet, out: Path) -> None:
    """Write a sheet that needs nothing but itself.

    Every text is escaped. The page forbids itself to load anything and to run scripts.
    A photograph that is missing or cannot be read is named as such.

    Args:
        sheet (Sheet): What it shows.
        out (Path): The HTML file to write.

    Raises:
        ImportError: If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError(
            'The sheet of photographs needs Jinja2: run `pip install jinja2`.'
        ) from error

    cards = []
    for card in sheet.cards:
        image = read_thumbnail(card.path)
        cards.append(
            dict(
                uri=None if image is None else data_uri(image),
                name=printable(card.path.name),
                title=printable(card.title),
                lines=[line._replace(text=printable(line.text)) for line in card.lines],
            )
        )
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = (FOLDER / 'sheet.html.j2').read_text(encoding='utf-8')
    text = environment.from_string(template).render(
        sheet=sheet, cards=cards, style=STYLE.read_text(encoding='utf-8')
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    # Names of files may hold bytes that are no text.
    out.write_text(text, encoding='utf-8', errors='backslashreplace')
