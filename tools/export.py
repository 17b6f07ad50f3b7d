# SPDX-License-Identifier: Apache-2.0
"""Write a trained model as ONNX, pt2 or safetensors; the same as ``mlcl export``."""

import argparse
import sys

from mlcl_plugin.command_line import one_line_errors
from mlcl_plugin.commands import export


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='\n'.join(
            ['examples:', *(f'  tools/export.py {line}' for line in export.EXAMPLES)]
        ),
    )
    export.add_arguments(parser)
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> int:
    parsed = parse_args(args)
    with one_line_errors('export', export.FLAGS):
        return export.run(parsed)


if __name__ == '__main__':
    sys.exit(main())
