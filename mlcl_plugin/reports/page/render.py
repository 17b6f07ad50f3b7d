# SPDX-License-Identifier: Apache-2.0
"""Write the page of a training as one HTML file."""

import base64
import hashlib
from pathlib import Path

from ...visualization.label_attention import OUTCOMES
from .content import CURVES, Content

FOLDER = Path(__file__).parent


def render_page(content: Content) -> str:
    """Write a page that needs nothing but itself.

    Every text is escaped. The page forbids itself to load anything, and to run any
    script but its own, which sorts tables.

    Args:
        content (Content): See :func:`~mlcl_plugin.reports.page.content.make_content`.

    Returns:
        str: HTML.

    Raises:
        ImportError: If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError(
            'The report needs Jinja2: run `pip install jinja2`.'
        ) from error

    texts = {
        name: (FOLDER / name).read_text(encoding='utf-8')
        for name in ('report.html.j2', 'report.css', 'sort.js')
    }
    # What the browser hashes is all between the tags.
    script = f'\n{texts["sort.js"]}'
    digest = hashlib.sha256(script.encode()).digest()
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(texts['report.html.j2']).render(
        page=content,
        style=texts['report.css'],
        script=texts['sort.js'],
        script_hash=base64.b64encode(digest).decode(),
        outcomes={name: words for name, (_, words) in OUTCOMES.items()},
        shown_curves=CURVES,
    )
