# SPDX-License-Identifier: Apache-2.0
"""Find thresholds and temperatures; the same as ``mlcl thresholds``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('thresholds', args)


if __name__ == '__main__':
    sys.exit(main())
