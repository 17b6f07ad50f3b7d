# SPDX-License-Identifier: Apache-2.0
"""Find the labels of images with a trained model; the same as ``mlcl infer``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('infer', args)


if __name__ == '__main__':
    sys.exit(main())
