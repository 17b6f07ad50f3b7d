# SPDX-License-Identifier: Apache-2.0
"""Train recipes over seeds under one budget and compare their results.

A suite (``studies/suites/*.py``) lists the recipes, the seeds and common options.
Finished runs are kept in a file of results and are not trained again; a run that was
interrupted continues from its last checkpoint.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from comparison import Comparison
from filelock import FileLock, Timeout
from method_report import NOTES, draw_methods, format_methods
from results_file import FOLDER
from suite import ROOT

from mlcl_plugin.command_line import number, one_line_errors


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('suite', type=Path, help='a file of studies/suites')
    parser.add_argument(
        '--out',
        type=Path,
        default=FOLDER,
        help='folder for SUITE.json and its plot (default: studies/results)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=ROOT / 'work_dirs/methods',
        help='folder for the runs (default: work_dirs/methods)',
    )
    parser.add_argument(
        '--jobs',
        type=number(int, least=1),
        default=1,
        help='runs at a time, which share the threads (default: 1)',
    )
    parser.add_argument(
        '--methods', nargs='+', help='train only these (default: all of the suite)'
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, help='train only these (default: all)'
    )
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(args)
    args.out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(args.out / f'.{args.suite.stem}.lock', timeout=0)
    try:
        lock.acquire()
    except Timeout:
        sys.exit(
            f'Another call writes to {args.out / args.suite.stem}.json. Wait until it '
            'ends, or choose another --out.'
        )
    with lock:
        with one_line_errors('compare_methods'):
            comparison = Comparison(
                args.suite,
                args.out,
                args.work_dir,
                args.jobs,
                args.methods,
                args.seeds,
            )
        failed = comparison.run()
        result = comparison.write()
        if result['runs']:
            print('\n\n'.join([format_methods(result), *NOTES]))
            print(draw_methods(result, args.out))
    if failed:
        sys.exit(f'{failed} runs failed.')


if __name__ == '__main__':
    main()
