# SPDX-License-Identifier: Apache-2.0
"""Make scenes of handwritten digits; the same as ``mlcl digits``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('digits', args)


if __name__ == '__main__':
    sys.exit(main())
