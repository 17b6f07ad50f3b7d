# SPDX-License-Identifier: Apache-2.0
"""Read which images of a table belong together."""

from collections.abc import Sequence
from pathlib import Path

from ...plain_text import list_some
from ..table import open_table


def read_groups(
    path: str | Path,
    images: Sequence[str],
    group: str,
    image_column: str = 'image',
    delimiter: str | None = None,
) -> list[str]:
    """Read a column of a table that names the group of each image.

    Args:
        path (str | Path): The table.
        images (Sequence[str]): N paths of images, all in the table.
        group (str): The column.
        image_column (str): The column of paths. Defaults to 'image'.
        delimiter (str, optional): See :class:`TabularMultiLabel`. Defaults to None.

    Returns:
        list[str]: N names of groups.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If there is no such column, or an image has no group.
    """
    found: dict[object, tuple[int, object]] = {}
    with open_table(str(path), delimiter=delimiter) as table:
        if group not in table.columns:
            raise ValueError(
                f"{path} has no column group='{group}', it has "
                f'{list_some(table.columns)}.'
            )
        for number, (image, cell) in table.rows([image_column, group]):
            found[image] = number, cell
    names = []
    for image in images:
        number, cell = found[image]
        # Missing numbers are NaN, which does not equal itself.
        name = '' if cell is None or cell != cell else str(cell).strip()
        if not name:
            raise ValueError(
                f"{path}, row {number}, column '{group}' is empty: '{image}' has no "
                'group. Write one, the name of the image if it belongs to no other.'
            )
        names.append(name)
    return names
