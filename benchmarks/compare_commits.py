# SPDX-License-Identifier: Apache-2.0
"""Compare the speed of this working tree with that of an older commit.

    python benchmarks/compare_commits.py COMMIT

checks the commit out into a temporary folder, as a git worktree. Three processes with
one thread each live for the whole run: the commit ("old"), this working tree ("new"),
and this working tree once more ("new again"). Every turn runs each of them once, one
after the other, in alternating order. The ratio of "new again" to "new" shows the
noise.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from commit_cases import CASES, QUICK
from common import ROOT, describe_environment, parse_args
from measure import spread
from report import format_environment, format_seconds

from mlcl_plugin.command_line import number
from mlcl_plugin.text_table import table_of_rows

# Seconds that the calls of a turn take, so that short calls are repeated.
TURN = 0.03
DESCRIPTION = (
    'Processor time of this commit ("new") relative to an older one ("old"), in '
    'long-lived processes with one thread, in turn, in alternating order; the time of '
    'a turn is that of its fastest call. "Ratio" is the median of the ratios new / '
    'old, taken turn by turn, with the quartiles; below 1 the new one is faster. '
    '"Noise" is the same for two processes of the new commit. "Values" compares all '
    'that is computed, gradients included: equal bits, or the largest deviation of '
    'the first value, as a fraction of the largest value.'
)


class Rival:
    """A process that runs the cases with the package of a checkout.

    Args:
        checkout (Path): The checkout.

    Raises:
        RuntimeError: If the process imports another package, or ends.
    """

    def __init__(self, checkout: Path):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name('commit_cases.py'))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | dict(PYTHONPATH=str(checkout), OMP_NUM_THREADS='1'),
        )
        package = Path(self._answer()['package'])
        if not package.is_relative_to(checkout):
            raise RuntimeError(
                f'The process for {checkout} imported {package}. Uninstall that '
                'package, or install this one in editable mode.'
            )

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f'A process ended with status {self.process.wait()}. To see its error, '
                'run benchmarks/commit_cases.py with PYTHONPATH set to the checkout '
                'and the line {"case": "NAME", "calls": 0} as input.'
            )
        return json.loads(line)

    def ask(self, case: str, calls: int) -> dict:
        """Run calls of a case; see commit_cases.py."""
        self.process.stdin.write(json.dumps(dict(case=case, calls=calls)) + '\n')
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder, which is removed at the end.

    Raises:
        SystemExit: If git does not know the commit.
    """
    git = ['git', '-C', str(ROOT)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / 'old'
        add = [*git, 'worktree', 'add', '--detach', '--quiet', str(path), commit]
        done = subprocess.run(add, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f'compare_commits: {commit}: {done.stderr.strip()}')
        try:
            yield path
        finally:
            remove = [*git, 'worktree', 'remove', '--force', str(path)]
            subprocess.run(remove, check=True)


def compare_values(old: dict, new: dict) -> str:
    """Write how far the values of two commits agree."""
    if old['digest'] == new['digest']:
        return 'equal bits'
    first, second = old['value'], new['value']
    if len(first) != len(second):
        return f'{len(first)} and {len(second)} numbers'
    largest = max(map(abs, first)) or 1
    return f'{max(abs(a - b) for a, b in zip(first, second)) / largest:.1g}'


def compare(rivals: dict[str, Rival], case: str, turns: int) -> dict:
    """Time a case in all rivals.

    Args:
        rivals (dict[str, Rival]): ``old``, ``new`` and ``new again``.
        case (str): Its name.
        turns (int): The number of turns.

    Returns:
        dict: ``title``, ``values``, ``calls`` per turn, and ``rivals``: for each its
        ``seconds`` by turn and the ``ratio``, to ``old`` or, of ``new again``, to
        ``new``.
    """
    values = {name: rival.ask(case, 0) for name, rival in rivals.items()}
    once = max(rival.ask(case, 1)['seconds'] for rival in rivals.values())
    calls = max(1, round(TURN / once))
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(turns):
        for name in list(rivals)[:: -1 if turn % 2 else 1]:
            seconds[name].append(rivals[name].ask(case, calls)['seconds'])
    bases = {'old': 'old', 'new': 'old', 'new again': 'new'}
    return dict(
        title=case,
        values=compare_values(values['old'], values['new']),
        calls=calls,
        rivals={
            name: dict(
                seconds=times,
                ratio=spread([a / b for a, b in zip(times, seconds[bases[name]])]),
            )
            for name, times in seconds.items()
        },
    )


def table(comparisons: Sequence[dict]) -> str:
    """Write a row per case."""
    rows = []
    for comparison in comparisons:
        rivals = comparison['rivals']
        row = {'': comparison['title']}
        for name in ('old', 'new'):
            row[f'{name}, least'] = format_seconds(min(rivals[name]['seconds']))
        for name in ('old', 'new'):
            row[f'{name}, median'] = format_seconds(median(rivals[name]['seconds']))
        for column, name in (('ratio', 'new'), ('noise', 'new again')):
            ratio = rivals[name]['ratio']
            row[column] = (
                f'{ratio["median"]:.3f} ({ratio["low"]:.3f} to {ratio["high"]:.3f})'
            )
        row['values'] = comparison['values']
        rows.append(row)
    return table_of_rows(rows)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(
        __doc__.splitlines()[0],
        args,
        positional=dict(commit=dict(help='the older commit')),
        turns=dict(
            type=number(int, least=1), default=30, help='turns of a case (default: 30)'
        ),
        cases=dict(nargs='+', help='only cases whose names hold one of these words'),
    )
    environment = describe_environment() | dict(threads=1)
    wanted = args.cases or ['']
    cases = [
        name
        for name in (QUICK if args.quick else CASES)
        if any(word in name for word in wanted)
    ]
    if not cases:
        sys.exit(f'compare_commits: --cases: no case of {list(CASES)} has {wanted}.')
    comparisons = []
    with worktree(args.commit) as old, contextlib.ExitStack() as stack:
        rivals = {}
        for name, checkout in (('old', old), ('new', ROOT), ('new again', ROOT)):
            rivals[name] = Rival(checkout)
            stack.callback(rivals[name].close)
        for case in cases:
            comparisons.append(compare(rivals, case, args.turns))
            print(table(comparisons[-1:]), flush=True)
    write_result(args, environment, comparisons)


def write_result(
    args: argparse.Namespace, environment: dict, comparisons: Sequence[dict]
) -> None:
    """Write the file of results, and print the table."""
    result = dict(
        name='commits',
        description=DESCRIPTION,
        quick=args.quick,
        environment=environment,
        old=args.commit,
        # make_docs.py draws other comparisons: those of rivals.
        comparisons=[],
        curves=[],
        cases=comparisons,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / 'commits.json'
    path.write_text(json.dumps(result, indent=1) + '\n')
    print(f'\n{table(comparisons)}\n\n{format_environment(result)}')
    print(os.path.relpath(path))


if __name__ == '__main__':
    main()
