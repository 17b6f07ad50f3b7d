# SPDX-License-Identifier: Apache-2.0
"""The pages of the project, and the commands and the code in their blocks."""

import re
import shlex
from pathlib import Path

from mlcl_plugin.command_table import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ('*.md', 'configs/*.md', 'docs/**/*.md', 'mlcl_plugin/**/*.md')
    for path in ROOT.glob(pattern)
    # It names flags that have gone.
    if path.name != 'CHANGELOG.md'
)
BLOCK = re.compile(r'^```(\S*)\n(.*?)^```', re.M | re.S)
TOOLS = {f'tools/{c.tool}': name for name, c in COMMANDS.items() if c.tool}
START = re.compile(
    r'(?:\w+=\S* +)*(?:mlcl +|python -m mlcl_plugin +|(?:python +)?(?=tools/))'
)


def split_command(line):
    """The name of a command and its arguments; None for other lines."""
    # Without what belongs to the shell.
    line = re.split(r' (?:\||>|&&) ', line)[0]
    match = START.match(line)
    words = shlex.split(line[match.end() :], comments=True) if match else []
    name = TOOLS.get(words[0], words[0]) if words else None
    return (name, words[1:]) if name in COMMANDS else None


def expand_braces(words):
    """What a shell makes of ``a.{py,pth}``."""
    for word in words:
        match = re.fullmatch(r'(.*)\{([\w,]+)\}(.*)', word)
        if match:
            yield from (match[1] + part + match[3] for part in match[2].split(','))
        else:
            yield word


def blocks(text):
    """The language and the content of each block."""
    return [match.groups() for match in BLOCK.finditer(text)]


def shell_lines(block):
    """The commands of a shell block, each on one line and without comments."""
    for line in block.replace('\\\n', ' ').splitlines():
        line = re.sub(r'(^|\s)#.*', '', line)
        if line := ' '.join(line.split()):
            yield line


def command_lines(text):
    for language, block in blocks(text):
        if language == 'shell':
            for line in shell_lines(block):
                if found := split_command(line):
                    yield found
