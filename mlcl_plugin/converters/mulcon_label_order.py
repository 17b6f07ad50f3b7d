# SPDX-License-Identifier: Apache-2.0
"""The order of the labels in the weights that MulCon's authors released.

The files number the labels but do not name them. Their order is **assumed** to be the
alphabetical one of the names, as in the category lists of training code in the style of
ML-GCN; nothing in the files confirms it.
"""

from pathlib import Path
from typing import Any

import msgspec

from ..local_files import check_regular


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not valid JSON, or a pipe or device.
    """
    check_regular(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no file {path}.')
    try:
        return msgspec.json.decode(Path(path).read_bytes())
    except msgspec.DecodeError as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error


def read_order(
    categories: str | Path | None, ann_file: str | Path, num_classes: int
) -> tuple[list[str], list[int]]:
    """Find the labels of an annotation file among those of the weights.

    Args:
        categories (str | Path, optional): JSON file ``{name: index}`` of the order of
            the weights. None assumes alphabetical order.
        ann_file (str | Path): COCO annotation file, whose labels are ordered by id.
        num_classes (int): The number of labels L of the weights.

    Returns:
        tuple[list[str], list[int]]: The L names in the order of their category id,
        and the index of each in the weights.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file has another form or number of labels, or the two
            disagree about the names.
    """
    content = read_json(ann_file)
    try:
        listed = sorted(content['categories'], key=lambda category: category['id'])
        names = [category['name'] for category in listed]
        index = {name: i for i, name in enumerate(sorted(names))}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{ann_file} has no list 'categories' of objects with 'id' and 'name', as "
            "COCO's annotation files do."
        ) from error
    if len(names) != num_classes or len(index) != num_classes:
        raise ValueError(
            f'{ann_file} has {len(names)} categories with {len(index)} different '
            f'names, but the weights have {num_classes} labels.'
        )
    if categories is None:
        return names, [index[name] for name in names]

    index = read_json(categories)
    if not isinstance(index, dict) or sorted(map(str, index.values())) != sorted(
        map(str, range(num_classes))
    ):
        raise ValueError(
            f'{categories} must hold an object {{name: index}} with every index from '
            f'0 to {num_classes - 1}, since the weights have {num_classes} labels.'
        )
    if sorted(names) != sorted(index):
        raise ValueError(
            f'{categories} and {ann_file} name different labels: only the first has '
            f'{sorted(set(index).difference(names))}, only the second has '
            f'{sorted(set(names).difference(index))}.'
        )
    return names, [int(index[name]) for name in names]
