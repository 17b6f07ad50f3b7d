# SPDX-License-Identifier: Apache-2.0
"""Evaluate and compare score dumps; the same as ``mlcl evaluate``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('evaluate', args)


if __name__ == '__main__':
    sys.exit(main())
