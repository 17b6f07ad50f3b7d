# SPDX-License-Identifier: Apache-2.0
"""Train a model; the same as ``mlcl train``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('train', args)


if __name__ == '__main__':
    sys.exit(main())
