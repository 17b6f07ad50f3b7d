# SPDX-License-Identifier: Apache-2.0
"""Let idle threads of torch sleep soon."""

import os
from collections.abc import MutableMapping

SPINS = '1000'


def let_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Shorten how long idle threads of GNU's OpenMP wait actively.

    By default they turn in a loop for milliseconds. Where another process needs their
    core, each operation then waits until the scheduler takes it from them. With
    :data:`SPINS` turns a training step is as fast on a free machine, and takes half the
    time beside another process (``benchmarks/bench_threads.py``). OpenMP reads its
    variables when torch is imported, so this comes before. What the user has set stays.

    Args:
        environment (MutableMapping): Defaults to that of the process.
    """
    if 'OMP_WAIT_POLICY' not in environment:
        environment.setdefault('GOMP_SPINCOUNT', SPINS)
