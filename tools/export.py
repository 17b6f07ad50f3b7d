# SPDX-License-Identifier: Apache-2.0
"""Write a trained model as ONNX, pt2 or safetensors; the same as ``mlcl export``."""

import sys

from mlcl_plugin.commands import run_tool


def main(args: list[str] | None = None) -> int:
    return run_tool('export', args)


if __name__ == '__main__':
    sys.exit(main())
