# SPDX-License-Identifier: Apache-2.0
"""The commands in the shell blocks of the documents."""

import re
import shlex

from mlcl_plugin.command_table import COMMANDS

BLOCK = re.compile(r'^```shell\n(.*?)^```', re.M | re.S)
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


def command_lines(text):
    for block in BLOCK.findall(text):
        for line in block.replace('\\\n', ' ').splitlines():
            if found := split_command(line):
                yield found
