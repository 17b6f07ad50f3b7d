# SPDX-License-Identifier: Apache-2.0
"""Convert the weights of MulCon's authors; the same as ``mlcl mulcon-weights``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('mulcon-weights', args)


if __name__ == '__main__':
    sys.exit(main())
