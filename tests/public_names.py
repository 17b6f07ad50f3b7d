# SPDX-License-Identifier: Apache-2.0
"""List what users write: registered names, config fields, Python names and flags.

    python tests/public_names.py            # compare the code with the list
    python tests/public_names.py --update   # add what is new to the list

The list is ``tests/data/public_names.json``. A name that is gone or a default that is
different breaks configs and scripts of users. Remove or change it in the list by hand,
and say so in ``CHANGELOG.md``.
"""

import argparse
import contextlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

# MMPretrain prints a note when it is imported.
with contextlib.redirect_stdout(None):
    import mmengine.registry
    import mmpretrain.registry

    import mlcl_plugin.apis
    import mlcl_plugin.visualization
    from mlcl_plugin.command_table import COMMANDS
    from mlcl_plugin.commands import make_parser

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).parent / 'data/public_names.json'
PACKAGE = 'mlcl_plugin'
# The methods of a parser by which a tool may read its arguments.
PARSING = ('parse_args', 'parse_known_args', 'parse_intermixed_args')


class ParserSeen(BaseException):
    """Carry the parser of a tool out of it, past its handling of errors."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def describe(value: object) -> str:
    """Write a default in the same way on every machine and in every run."""
    if isinstance(value, type) or inspect.isroutine(value):
        return f'{value.__module__}.{value.__qualname__}'
    return repr(value).replace(str(ROOT), 'ROOT')


def parameters(function: object) -> tuple[dict[str, str | None], bool]:
    """Read the parameters of a function.

    Returns:
        tuple: The default of each parameter by its name, ``None`` without a default,
        and whether the function takes any other arguments, too.
    """
    found, takes_more = {}, False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            takes_more = True
        elif parameter.name != 'self':
            required = parameter.default is parameter.empty
            found[parameter.name] = None if required else describe(parameter.default)
    return found, takes_more


def fields(cls: type, own: bool) -> dict[str, str | None]:
    """List the config fields of a class.

    An ``__init__`` that passes ``*args`` or ``**kwargs`` on has the fields of the next
    class as well.

    Args:
        cls (type): The class.
        own (bool): Leave out the fields of other packages, which depend on their
            version.
    """
    found: dict[str, str | None] = {}
    for base in cls.__mro__:
        if '__init__' not in vars(base) or base is object:
            continue
        names, takes_more = parameters(base.__init__)
        if base.__module__.startswith(PACKAGE) or not own:
            found = {**names, **found}
        if not takes_more:
            break
    return found


def registered(own: bool) -> dict[str, dict[str, str | None]]:
    """List what this package registers, with its config fields."""
    found = {}
    for module in (mmpretrain.registry, mmengine.registry):
        for name, registry in vars(module).items():
            if not isinstance(registry, mmengine.registry.Registry):
                continue
            for key, value in registry.module_dict.items():
                if value.__module__.startswith(PACKAGE):
                    given = (
                        fields(value, own)
                        if isinstance(value, type)
                        else parameters(value)[0]
                    )
                    found[f'{name}/{key}'] = given
    return found


def modules() -> Iterator[str]:
    """Iterate over the packages and modules with an ``__all__``."""
    folder = Path(mlcl_plugin.__file__).parent
    for path in sorted(folder.rglob('*.py')):
        parts = path.relative_to(folder.parent).with_suffix('').parts
        if '.mim' in parts:
            continue
        name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        if hasattr(importlib.import_module(name), '__all__'):
            yield name


def exported() -> dict[str, list[str]]:
    """List the names in the ``__all__`` of each package."""
    return {name: sorted(importlib.import_module(name).__all__) for name in modules()}


def faces() -> dict[str, dict[str, str | None]]:
    """List the parameters of what ``mlcl_plugin.apis`` exports."""
    return {
        name: parameters(getattr(mlcl_plugin.apis, name))[0]
        for name in sorted(mlcl_plugin.apis.__all__)
    }


def tools() -> list[str]:
    """List the tools, as paths relative to the repository."""
    paths = sorted((ROOT / 'tools').rglob('*.py'))
    return [path.relative_to(ROOT).as_posix() for path in paths]


def parser_of(tool: str) -> argparse.ArgumentParser:
    """Run a tool up to the moment when it parses its arguments."""

    def stop(self: argparse.ArgumentParser, *args, **kwargs) -> None:
        raise ParserSeen(self)

    path = ROOT / tool
    name = 'public_' + tool.removesuffix('.py').replace('/', '_')
    spec = importlib.util.spec_from_file_location(name, path)
    with contextlib.ExitStack() as patches:
        for method in PARSING:
            patches.enter_context(
                mock.patch.object(argparse.ArgumentParser, method, stop)
            )
        # What Python itself does for a script.
        patches.enter_context(mock.patch.object(sys, 'argv', [str(path)]))
        patches.enter_context(
            mock.patch.object(sys, 'path', [str(path.parent), *sys.path])
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            module.main()
        except ParserSeen as seen:
            return seen.parser
    raise ValueError(f'{tool} ended without parsing its arguments by argparse.')


def flags(tool: str) -> dict[str, dict]:
    """List the arguments of a tool: their spellings, choices and defaults."""
    return flags_of(parser_of(tool))


def flags_of(parser: argparse.ArgumentParser) -> dict[str, dict]:
    """List the arguments of a parser: their spellings, choices and defaults."""
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            found |= {name: flags_of(own) for name, own in action.choices.items()}
            continue
        choices = action.choices and [describe(choice) for choice in action.choices]
        for name in action.option_strings or [action.dest]:
            found[name] = dict(
                choices=choices, default=describe(action.default), nargs=action.nargs
            )
    return found


def present(own: bool = True) -> dict[str, dict]:
    """List everything; see :func:`fields` for ``own``."""
    return dict(
        registered=registered(own),
        exported=exported(),
        apis=faces(),
        tools={tool: flags(tool) for tool in tools()},
        commands={name: flags_of(make_parser(name)) for name in COMMANDS},
    )


def missing(listed: object, found: object, place: str = '') -> Iterator[str]:
    """Describe what the list has and the code has not, or has differently."""
    if isinstance(listed, dict) and isinstance(found, dict):
        for key, value in listed.items():
            where = f'{place} {key}'.strip()
            if key in found:
                yield from missing(value, found[key], where)
            else:
                yield f'{where}: gone'
    elif isinstance(listed, list) and isinstance(found, list):
        for value in listed:
            if value not in found:
                yield f'{place}: {value} is gone'
    elif listed != found:
        yield f'{place}: was {listed}, is {found}'


def merge(listed: object, found: object) -> object:
    """Add to the list what only the code has."""
    if isinstance(listed, dict) and isinstance(found, dict):
        new = {key: value for key, value in found.items() if key not in listed}
        return new | {k: merge(v, found.get(k, v)) for k, v in listed.items()}
    if isinstance(listed, list) and isinstance(found, list):
        return listed + [value for value in found if value not in listed]
    return listed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--update', action='store_true', help='add what is new to the list'
    )
    args = parser.parse_args()
    listed = json.loads(FILE.read_text()) if FILE.exists() else {}
    lines = list(missing(listed, present(own=False)))
    print(*lines, sep='\n', end='\n' if lines else '')
    if args.update:
        content = merge(listed, present())
        FILE.write_text(json.dumps(content, indent=1, sort_keys=True) + '\n')
        print(f'wrote {FILE.relative_to(ROOT)}')
    return int(bool(lines))


if __name__ == '__main__':
    sys.exit(main())
