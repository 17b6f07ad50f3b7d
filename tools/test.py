# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint; the same as ``mlcl test``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('test', args)


if __name__ == '__main__':
    sys.exit(main())
