# SPDX-License-Identifier: Apache-2.0
"""Search for settings; the same as ``mlcl tune``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('tune', args)


if __name__ == '__main__':
    sys.exit(main())
