# SPDX-License-Identifier: Apache-2.0
"""Check the data sets of a config; the same as ``mlcl check``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('check', args)


if __name__ == '__main__':
    sys.exit(main())
