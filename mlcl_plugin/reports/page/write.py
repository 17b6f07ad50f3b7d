# SPDX-License-Identifier: Apache-2.0
"""From a work folder to its page."""

import time
from collections.abc import Sequence
from pathlib import Path

from ...version import __version__
from .content import PageOptions, make_content
from .render import render_page
from .work_folder import WorkFolder, read_work_folder


def write_page(
    folder: Path,
    out: Path,
    dumps: Sequence[Path] = (),
    decisions: Path | None = None,
    options: PageOptions | None = None,
) -> WorkFolder:
    """Write the page of a training.

    Nothing of the folder is executed, and no checkpoint is opened.

    Args:
        folder (Path): The work folder of a training, or the folder of a fit.
        out (Path): The HTML file to write.
        dumps (Sequence[Path]): Score dumps. Defaults to those in the folder.
        decisions (Path, optional): The file of thresholds. Defaults to
            ``decisions.json`` in the folder.
        options (PageOptions, optional): What the page holds. Defaults to None, the
            defaults.

    Returns:
        WorkFolder: What was found, with what is missing.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ImportError: If Jinja2 is not installed.
        ValueError: If the folder is none of a training, or a file is wrong.
    """
    work = read_work_folder(folder, dumps, decisions)
    made = time.strftime('%Y-%m-%d %H:%M')
    content = make_content(work, options or PageOptions(), made, __version__)
    text = render_page(content)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Names of files may hold bytes that are no text.
    out.write_text(text, encoding='utf-8', errors='backslashreplace')
    return work
