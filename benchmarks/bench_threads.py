# SPDX-License-Identifier: Apache-2.0
"""How idle threads of OpenMP should wait, on a free machine and beside other work."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import torch
from common import ROOT, describe_environment, parse_args, quiet, write
from measure import compare
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin._threads import SPINS

CONFIG = 'configs/mlcl/mlcl_efflite0_voc07_frozen.py'
BATCH, PLACES = 32, (7, 7)
RIVALS: dict[str, dict[str, str]] = {
    'as OpenMP does': {},
    f'GOMP_SPINCOUNT={SPINS}, as mlcl sets it': {'GOMP_SPINCOUNT': SPINS},
    'OMP_WAIT_POLICY=PASSIVE': {'OMP_WAIT_POLICY': 'PASSIVE'},
    'one thread': {'OMP_NUM_THREADS': '1'},
}
VARIABLES = ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY', 'OMP_NUM_THREADS')
CONTEXT = multiprocessing.get_context('spawn')
DESCRIPTION = (
    'Forward, backward and step of neck and head of `mlcl_efflite0_voc07_frozen.py` on '
    'stored features, batches of 32: what `mlcl fit` trains. Each rival is a process '
    'of its own, since OpenMP reads its variables once; they take turns. "Beside other '
    'work": one more process computes without end.'
)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of OpenMP, and no others of :data:`VARIABLES`."""
    before = {key: os.environ.pop(key) for key in VARIABLES if key in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key in variables:
            del os.environ[key]
        os.environ.update(before)


@contextmanager
def process(target, *args) -> Iterator[None]:
    """Run a function in a process of its own, and end it."""
    child = CONTEXT.Process(target=target, args=args, daemon=True)
    child.start()
    try:
        yield
    finally:
        child.terminate()
        child.join()


def work() -> None:
    """Compute without end."""
    while True:
        sum(range(10_000))


def train(pipe: Connection, steps: int) -> None:
    """Train for some steps whenever told to."""
    quiet()
    init_default_scope('mmpretrain')
    model = Config.fromfile(ROOT / CONFIG).model
    torch.manual_seed(0)
    neck, head = MODELS.build(model.neck), MODELS.build(model.head)
    features = torch.randn(BATCH, model.neck.in_channels, *PLACES)
    targets = (torch.rand(BATCH, model.head.num_classes) < 0.1).float()
    parameters = [*neck.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    criterion = torch.nn.BCEWithLogitsLoss()
    while True:
        pipe.recv()
        for _ in range(steps):
            loss = criterion(head(neck((features,))), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pipe.send(float(loss.detach()))


def measure_waiting(title: str, busy: int, turns: int, steps: int) -> dict:
    """Compare the rivals beside some busy processes."""
    with ExitStack() as stack:
        pipes = {}
        for name, variables in RIVALS.items():
            pipes[name], other = CONTEXT.Pipe()
            with environment(variables):
                stack.enter_context(process(train, other, steps))
            # Without it, a process that fails would be waited for without end.
            other.close()
        for _ in range(busy):
            stack.enter_context(process(work))

        def make(pipe: Connection):
            def call() -> dict:
                pipe.send(None)
                return dict(loss=[torch.tensor(pipe.recv())])

            return call

        calls = {name: make(pipe) for name, pipe in pipes.items()}
        comparison = compare(calls, turns)
    for rival in comparison['rivals'].values():
        rival['seconds'] = [second / steps for second in rival['seconds']]
    return dict(comparison, title=title)


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args)
    machine = describe_environment()
    turns, steps = (2, 1) if args.quick else (9, 10)
    comparisons = [
        measure_waiting('nothing else runs', 0, turns, steps),
        measure_waiting('beside other work', 1, turns, steps),
    ]
    write(args, 'threads', 'Threads that wait', DESCRIPTION, machine, comparisons)


if __name__ == '__main__':
    main()
