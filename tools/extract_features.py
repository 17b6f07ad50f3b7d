# SPDX-License-Identifier: Apache-2.0
"""Compute the features of a frozen backbone once; the same as ``mlcl features``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('features', args)


if __name__ == '__main__':
    sys.exit(main())
