# SPDX-License-Identifier: Apache-2.0
"""Let the nearest training images vote, too; the same as ``mlcl neighbours``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('neighbours', args)


if __name__ == '__main__':
    sys.exit(main())
