# SPDX-License-Identifier: Apache-2.0
"""Measure the embeddings of labels; the same as ``mlcl embeddings``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('embeddings', args)


if __name__ == '__main__':
    sys.exit(main())
