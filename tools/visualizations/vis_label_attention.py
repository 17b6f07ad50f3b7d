# SPDX-License-Identifier: Apache-2.0
"""Draw where a model looks for each label; the same as ``mlcl attention``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('attention', args)


if __name__ == '__main__':
    sys.exit(main())
