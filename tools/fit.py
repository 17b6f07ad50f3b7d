# SPDX-License-Identifier: Apache-2.0
"""Train a model on your photographs; the same as ``mlcl fit``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('fit', args)


if __name__ == '__main__':
    sys.exit(main())
