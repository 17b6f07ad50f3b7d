# SPDX-License-Identifier: Apache-2.0
"""Read the config that a run has written, without running it.

A config is Python code. What MMEngine writes of one is assignments of literals and of
``dict(...)``. Only these are read here, so that a work folder of a stranger runs
nothing.
"""

import ast
from pathlib import Path
from typing import Any

from ...local_files import check_regular

MAX_BYTES = 2**22
"""A config that is larger is not read."""


def read_plain_config(path: Path) -> dict[str, Any]:
    """Read the assignments of a config file as literals.

    Args:
        path (Path): A file that ``Config.dump`` has written.

    Returns:
        dict[str, Any]: The values by their names.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is too large, is no Python, or holds anything else than
            literals and ``dict(...)``.
    """
    check_regular(path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f'{path} has more than {MAX_BYTES:,} bytes.')
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        found: dict[str, Any] = {}
        for statement in tree.body:
            if not isinstance(statement, ast.Assign) or not all(
                isinstance(target, ast.Name) for target in statement.targets
            ):
                raise ValueError(
                    f'line {statement.lineno} is no assignment of a value to a name'
                )
            value = _value(statement.value)
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = value
    # Deep nesting raises RecursionError, or MemoryError in the parser.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f'{path} is no config as MMEngine writes it: {error!s:.200}. Expected '
            'NAME = VALUE with literals and dict(...).'
        ) from error
    return found


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ''
        if name == 'set' and not node.args and not node.keywords:
            return set()
        # Keys that are no names stand in a dict inside.
        inner = [_value(item) for item in node.args]
        if name != 'dict' or not all(isinstance(item, dict) for item in inner):
            raise ValueError(f'line {node.lineno} calls something else than dict')
        pairs = {word.arg: _value(word.value) for word in node.keywords}
        if None in pairs or len(inner) > 1:
            raise ValueError(f'line {node.lineno} has dict(**...) or several arguments')
        return {**(inner[0] if inner else {}), **pairs}
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise ValueError(f'line {node.lineno} has {{**...}}')
        return {
            ast.literal_eval(key): _value(item)
            for key, item in zip(node.keys, node.values)
            if key is not None
        }
    # Numbers, text, None, True, sets of them.
    return ast.literal_eval(node)
