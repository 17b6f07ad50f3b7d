# SPDX-License-Identifier: Apache-2.0
"""Convert and divide image-level labels; the same as ``mlcl convert``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('convert', args)


if __name__ == '__main__':
    sys.exit(main())
