# SPDX-License-Identifier: Apache-2.0
"""Commands let idle threads sleep, unless the user has said how they wait."""

import os
import subprocess
import sys

import pytest

from mlcl_plugin._threads import SPINS, let_threads_sleep


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ({}, {'GOMP_SPINCOUNT': SPINS}),
        ({'GOMP_SPINCOUNT': '7'}, {'GOMP_SPINCOUNT': '7'}),
        ({'OMP_WAIT_POLICY': 'ACTIVE'}, {'OMP_WAIT_POLICY': 'ACTIVE'}),
    ],
)
def test_what_the_user_has_set_stays(given, expected):
    let_threads_sleep(given)
    assert given == expected


@pytest.mark.parametrize(
    ('words', 'expected'),
    [(['-m', 'mlcl_plugin', '--help'], SPINS), (['-c', 'import mlcl_plugin'], 'None')],
)
def test_commands_alone_set_it(words, expected, tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(
        'import atexit, os\n'
        "atexit.register(lambda: print('spins', os.environ.get('GOMP_SPINCOUNT')))\n"
    )
    own = ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')
    env = {k: v for k, v in os.environ.items() if k not in own}
    done = subprocess.run(
        [sys.executable, *words],
        env=env | {'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-2:] == ['spins', expected]
