# SPDX-License-Identifier: Apache-2.0
"""Train a model on your photographs, find thresholds, and say how good it is."""

import argparse
import sys
from contextlib import redirect_stdout

# MMPretrain prints when it is imported.
with redirect_stdout(sys.stderr):
    from mlcl_plugin.command_line import one_line_errors
    from mlcl_plugin.commands import fit


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    fit.add_arguments(parser)
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> int:
    args = parse_args(args)
    with one_line_errors('fit', fit.FLAGS):
        return fit.run(args)


if __name__ == '__main__':
    sys.exit(main())
