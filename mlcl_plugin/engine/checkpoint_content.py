# SPDX-License-Identifier: Apache-2.0
"""What checkpoints hold, as nested dicts and lists."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def flatten(name: str, content: Any) -> dict[str, Any]:
    """Name every value in nested dicts, lists and tuples.

    Args:
        name (str): The name of the whole.
        content: What may be nested.

    Returns:
        dict[str, Any]: The values that are no containers.

    Examples:
        >>> flatten('x', {'a': [1, 2], 'b': 3})
        {'x.a.0': 1, 'x.a.1': 2, 'x.b': 3}
    """
    return dict(_iterate(name, content))


def _iterate(name: str, content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping):
        items: Any = content.items()
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    else:
        yield name, content
        return
    for key, value in items:
        yield from _iterate(f'{name}.{key}', value)


@torch.no_grad()
def non_finite(state: Mapping[str, Any]) -> set[str]:
    """Find tensors that hold nan or infinite values.

    Args:
        state (Mapping[str, Any]): Values by name. Other values than tensors of real
            numbers are finite.

    Returns:
        set[str]: Their names.

    Examples:
        >>> sorted(non_finite(dict(a=torch.tensor([1.0, torch.nan]), b=torch.ones(2))))
        ['a']
    """
    return {
        name
        for name, value in state.items()
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and not value.isfinite().all()
    }


def to_plain(value: Any) -> Any:
    """Turn subclasses of dict, list, tuple and str into these types.

    Args:
        value: Any value. Types other than these stay.

    Returns:
        Any: An equal value.

    Examples:
        >>> from mmengine.config import ConfigDict
        >>> to_plain([ConfigDict(a=1)])
        [{'a': 1}]
    """
    if isinstance(value, dict):
        return {to_plain(key): to_plain(x) for key, x in value.items()}
    for kind in (list, tuple):
        if isinstance(value, kind):
            return kind(map(to_plain, value))
    return str(value) if isinstance(value, str) else value
