# SPDX-License-Identifier: Apache-2.0
"""The config that trains with the best settings of a search."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine import load_config
from ..engine.durable_files import write_text


def write_best(
    path: Path, base: Path, cfg: Config, values: Mapping[str, Any], comment: str
) -> None:
    """Write a config that changes some values of another one.

    Args:
        path (Path): The file to write.
        base (Path): The file of the other config.
        cfg (Config): The other config with the values.
        values (Mapping[str, Any]): The values by dotted key.
        comment (str): The first line.
    """
    lines = [f'# {comment}', f'_base_ = [{str(base.absolute())!r}]']
    changes = overlay(cfg, values)
    lines += [f'{name} = {value!r}' for name, value in changes.items()]
    write_text(path, '\n'.join(lines) + '\n')


def check_base(
    folder: Path, base: Path, cfg: Config, values: Mapping[str, Any]
) -> None:
    """Try that a config of the best settings can be written and read.

    Args:
        folder (Path): A folder to write to.
        base (Path): The file of the other config.
        cfg (Config): The other config with the values.
        values (Mapping[str, Any]): Values by dotted key.

    Raises:
        ValueError: If MMEngine cannot read what :func:`write_best` writes.
    """
    path = folder / 'check_of_best.py'
    try:
        write_best(path, base, cfg, values, 'A check.')
        load_config(path)
    # Errors of a config file are of any kind.
    except Exception as error:
        raise ValueError(
            f'The best settings are written as a config that is based on {base}, which '
            f'does not work: {error} Search with a config in plain Python.'
        ) from error
    finally:
        path.unlink(missing_ok=True)


def overlay(cfg: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the nested dicts that set values of dotted keys.

    A config file can replace a list, but no item of it. So a key that leads through a
    list gives the whole list.

    Args:
        cfg (Config): The config with the values.
        values (Mapping[str, Any]): The values by dotted key.

    Returns:
        dict: The changes.

    Examples:
        >>> cfg = Config(dict(a=dict(b=2, c=[dict(d=1), dict(d=3)])))
        >>> overlay(cfg, {'a.b': 2, 'a.c.1.d': 3})
        {'a': {'b': 2, 'c': [{'d': 1}, {'d': 3}]}}
    """
    whole = cfg.to_dict()
    changes: dict[str, Any] = {}
    for key in values:
        inside: Any = whole
        target = changes
        *names, last = key.split('.')
        for name in names:
            inside = inside[name]
            if isinstance(inside, list | tuple):
                last = name
                break
            target = target.setdefault(name, {})
        else:
            inside = inside[last]
        # Without this, keys of the base would come back.
        own = isinstance(inside, dict)
        target[last] = dict(inside, _delete_=True) if own else inside
    return changes
