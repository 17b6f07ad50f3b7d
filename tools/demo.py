# SPDX-License-Identifier: Apache-2.0
"""Train and show a small model within minutes; the same as ``mlcl digits-demo``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('digits-demo', args)


if __name__ == '__main__':
    sys.exit(main())
