# SPDX-License-Identifier: Apache-2.0
"""Compare calls that do the same work: time, agreement, memory, growth."""

import gc
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch

Call = Callable[[], dict[str, torch.Tensor | Sequence[torch.Tensor]]]
"""A call to measure; it returns what it computed."""


def clock_of(device: str) -> Callable[[], float]:
    """A clock of seconds that first waits for what a device still computes."""
    if device == 'cpu':
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def compare(
    rivals: dict[str, Call],
    repeats: int,
    warmup: int = 1,
    base: str | None = None,
    clock: Callable[[], float] | None = None,
    settle: int = 0,
) -> dict:
    """Time rivals in turn, in this process.

    Every turn calls each rival once; the order alternates. If the machine is slow for a
    while, all of them are slow, and ratios of times are taken within a turn.

    Args:
        rivals (dict[str, Callable]): The calls to time.
        repeats (int): The number of turns.
        warmup (int): Calls of each rival before the first turn. Defaults to 1.
        base (str, optional): The rival that the others are compared with.
            Defaults to the first one.
        clock (Callable, optional): Tells seconds. With one thread, other work on the
            machine hardly changes ``time.process_time``. Defaults to
            ``time.perf_counter``.
        settle (int): Calls of a rival right before each timed one. Threads of another
            library may still wait actively after the call before, and caches hold what
            it used. Defaults to 0.

    Returns:
        dict: ``base`` and ``rivals``, where each has its ``seconds`` in the order
        of the turns and the ``ratio`` of its time to the base's: the median and the
        quartiles ``low`` and ``high``.
    """
    base = base or next(iter(rivals))
    clock = clock or time.perf_counter
    for call in rivals.values():
        for _ in range(warmup):
            call()
    seconds = {name: [] for name in rivals}
    collects = gc.isenabled()
    gc.disable()
    try:
        for turn in range(repeats):
            # Only what the last turn left: a full collection takes long.
            gc.collect(1)
            for name in list(rivals)[:: -1 if turn % 2 else 1]:
                for _ in range(settle):
                    rivals[name]()
                start = clock()
                rivals[name]()
                seconds[name].append(clock() - start)
    finally:
        if collects:
            gc.enable()
    return dict(
        base=base,
        rivals={
            name: dict(
                seconds=times,
                ratio=spread([a / b for a, b in zip(times, seconds[base])]),
            )
            for name, times in seconds.items()
        },
    )


def spread(values: Sequence[float]) -> dict[str, float]:
    """Compute the median and the quartiles ``low`` and ``high``."""
    low, median, high = (
        quantiles(values, method='inclusive') if len(values) > 1 else [*values] * 3
    )
    return dict(median=median, low=low, high=high)


def deviations(
    rivals: dict[str, Call], tolerance: float | dict[str, float]
) -> dict[str, dict[str, float]]:
    """Compare the values that rivals compute with those of the first one.

    Args:
        rivals (dict[str, Callable]): Each returns a dict of tensors, or of sequences
            of tensors that are joined.
        tolerance (float | dict[str, float]): The largest deviation of a rival that does
            the same work; by rival if they differ.

    Returns:
        dict[str, dict[str, float]]: For each rival and item the largest absolute
        difference, as a fraction of the largest absolute value of the first's.

    Raises:
        ValueError: If a rival deviates by more than the tolerance.
    """
    expected, found = None, {}
    for name, call in rivals.items():
        result = {key: _flat(value) for key, value in call().items()}
        expected = expected or result
        found[name] = {
            key: float((result[key] - value).abs().max() / value.abs().max())
            for key, value in expected.items()
        }
        limit = tolerance[name] if isinstance(tolerance, dict) else tolerance
        # A deviation of nan is an error, too.
        if not all(value <= limit for value in found[name].values()):
            raise ValueError(
                f"'{name}' deviates from '{next(iter(rivals))}' by {found[name]}, "
                f'expected at most {limit}. It does other work, and times of other '
                'work cannot be compared.'
            )
    return found


def _flat(value: torch.Tensor | Iterable[torch.Tensor]) -> torch.Tensor:
    tensors = [value] if isinstance(value, torch.Tensor) else value
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors])


def gpu_memory(make: Callable[..., Call], case: dict) -> dict:
    """Measure the memory of a GPU that tensors take in one call, in this process.

    Args:
        make (Callable): Function that returns the call.
        case (dict): Arguments for ``make``.

    Returns:
        dict: As from :func:`peak_memory`.
    """
    call = make(**case)
    # Makes what libraries keep, such as their workspaces.
    call()
    gc.collect()
    clock = clock_of('cuda')
    start = clock()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    seconds = clock() - start
    peak = torch.cuda.max_memory_allocated()
    return dict(before=before, peak=peak, extra=peak - before, seconds=seconds)


def peak_memory(make: Callable[..., Call], case: dict, warm: dict) -> dict | None:
    """Measure the memory of one call in a separate process.

    The process first runs a small case, which loads libraries and starts threads.
    Then it makes the inputs of the case, notes its resident memory (``before``),
    resets the peak that Linux keeps, calls once, and reads the peak of resident memory
    (``peak``, of the whole process). It includes what the call returns, for example
    gradients.

    Args:
        make (Callable): Function of a module; ``make(**case)`` returns the call.
        case (dict): Arguments for ``make``.
        warm (dict): Arguments for ``make`` of the small case.

    Returns:
        dict | None: ``before`` and ``peak``, their difference ``extra``, in bytes,
        and ``seconds``. None on systems without ``/proc``.
    """
    if not Path('/proc/self/clear_refs').exists():
        return None
    # A fork would share memory with this process.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure_memory, make, case, warm).result()


def _measure_memory(make: Callable[..., Call], case: dict, warm: dict) -> dict:
    make(**warm)()
    call = make(**case)
    gc.collect()
    before = _status('VmRSS')
    # 5 resets the peak to what is resident now.
    Path('/proc/self/clear_refs').write_text('5')
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    peak = _status('VmHWM')
    del result
    return dict(before=before, peak=peak, extra=peak - before, seconds=seconds)


def _status(field: str) -> int:
    """Read a field of the status of this process, in bytes."""
    lines = Path('/proc/self/status').read_text().splitlines()
    line = next(line for line in lines if line.startswith(f'{field}:'))
    return int(line.split()[1]) * 1024


def measure(
    title: str,
    make: Callable[..., Call],
    rivals: dict[str, dict],
    repeats: int,
    tolerance: float | dict[str, float] | None = None,
    warm: dict | None = None,
    warmup: int = 1,
    clock: Callable[[], float] | None = None,
    device: str = 'cpu',
    settle: int = 0,
) -> dict:
    """Compare rivals in agreement, time and memory.

    Args:
        title (str): The case.
        make (Callable): Function of a module that returns the call of a rival.
        rivals (dict[str, dict]): For each rival the arguments of ``make``. The
            first one is the base.
        repeats (int): The number of turns.
        tolerance (float | dict[str, float], optional): As in :func:`deviations`. None
            allows rivals that compute different things. Defaults to None.
        warm (dict, optional): Changes of the arguments for the small case of
            :func:`peak_memory`. None does not measure memory. Defaults to None.
        warmup (int): As in :func:`compare`. Defaults to 1.
        clock (Callable, optional): As in :func:`compare`. Defaults to
            ``time.perf_counter``, after waiting for the device.
        device (str): Where the calls compute. On ``'cuda'`` memory is that of the GPU.
            Defaults to ``'cpu'``.
        settle (int): As in :func:`compare`. Defaults to 0.

    Returns:
        dict: The result of :func:`compare` with ``title`` and, where asked for,
        ``deviation`` and ``memory`` of each rival.
    """
    calls = {name: make(**case) for name, case in rivals.items()}
    agreement = {} if tolerance is None else deviations(calls, tolerance)
    clock = clock or clock_of(device)
    result = dict(title=title, **compare(calls, repeats, warmup, None, clock, settle))
    del calls
    for name, rival in result['rivals'].items():
        if name in agreement:
            rival['deviation'] = agreement[name]
        if warm is not None and device == 'cpu':
            rival['memory'] = peak_memory(make, rivals[name], rivals[name] | warm)
        elif warm is not None:
            rival['memory'] = gpu_memory(make, rivals[name])
    return result


def measure_apart(
    title: str,
    make: Callable[..., Call],
    rivals: dict[str, dict],
    turns: int,
    repeats: int,
    tolerance: dict[str, float],
) -> dict:
    """Compare rivals in agreement and time, each in separate processes.

    For rivals that change the process they run in. A turn starts a process per rival;
    the order alternates. The time of a rival is the median of some calls after a first
    one.

    Args:
        title (str): The case.
        make (Callable): Function of a module that returns the call of a rival.
        rivals (dict[str, dict]): For each rival the arguments of ``make``. The
            first one is the base.
        turns (int): The number of turns.
        repeats (int): Timed calls in a process.
        tolerance (dict[str, float]): As in :func:`deviations`.

    Returns:
        dict: As from :func:`measure`, without memory.
    """
    base = next(iter(rivals))
    seconds, results = {name: [] for name in rivals}, {}
    for turn in range(turns):
        for name in list(rivals)[:: -1 if turn % 2 else 1]:
            context = multiprocessing.get_context('spawn')
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                job = pool.submit(_measure_time, make, rivals[name], repeats)
                result, time_taken = job.result()
            seconds[name].append(time_taken)
            results[name] = result
    agreement = deviations(
        {name: lambda name=name: results[name] for name in rivals}, tolerance
    )
    return dict(
        title=title,
        base=base,
        rivals={
            name: dict(
                seconds=times,
                ratio=spread([a / b for a, b in zip(times, seconds[base])]),
                deviation=agreement[name],
            )
            for name, times in seconds.items()
        },
    )


def _measure_time(make: Callable[..., Call], case: dict, repeats: int) -> tuple:
    call = make(**case)
    result = {key: _flat(value) for key, value in call().items()}
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return result, median(times)


def grow(
    title: str,
    make: Callable[..., Call],
    rivals: dict[str, dict],
    x: tuple[str, str, str],
    sizes: Sequence[int],
    repeats: int,
    warm: dict | None = None,
    fixed: str = '',
    device: str = 'cpu',
) -> dict:
    """Measure how time and memory grow, and fit exponents.

    Args:
        title (str): What is measured.
        make (Callable): Function of a module that returns the call of a rival.
        rivals (dict[str, dict]): For each rival the arguments of ``make``.
        x (tuple[str, str, str]): The size that grows: the argument of ``make``, its
            symbol, and a label for the axis.
        sizes (Sequence[int]): Its values.
        repeats (int): Calls of each rival at each size.
        warm (dict, optional): As in :func:`measure`. Defaults to None.
        fixed (str): The sizes that stay the same, as text. Defaults to ''.
        device (str): As in :func:`measure`. Defaults to ``'cpu'``.

    Returns:
        dict: ``title``, ``fixed``, ``x`` and ``x_label``; for each rival its
        ``points``, dicts of ``x``, ``seconds`` (the median) and ``memory``, and its
        ``exponents``, those of ``seconds`` and of ``extra`` memory.
    """
    argument, symbol, label = x
    points = {name: [] for name in rivals}
    for size in sizes:
        cases = {name: case | {argument: size} for name, case in rivals.items()}
        result = measure('', make, cases, repeats, warm=warm, device=device)
        for name, rival in result['rivals'].items():
            points[name].append(
                dict(
                    x=size,
                    seconds=median(rival['seconds']),
                    memory=rival.get('memory'),
                )
            )
    return fit(title, points, (symbol, label), fixed)


def fit(
    title: str, points: dict[str, list[dict]], x: tuple[str, str], fixed: str = ''
) -> dict:
    """Fit exponents to curves.

    Args:
        title (str): What is measured.
        points (dict[str, list[dict]]): For each rival dicts of ``x``, ``seconds``
            and ``memory``, which may be None.
        x (tuple[str, str]): The symbol of the size, and a label for the axis.
        fixed (str): The sizes that stay the same, as text. Defaults to ''.

    Returns:
        dict: As from :func:`grow`.
    """
    exponents = {}
    for name, series in points.items():
        sizes = [point['x'] for point in series]
        exponents[name] = dict(seconds=exponent(sizes, [p['seconds'] for p in series]))
        if all(point['memory'] for point in series):
            extra = [point['memory']['extra'] for point in series]
            exponents[name]['extra'] = exponent(sizes, extra)
    return dict(
        title=title,
        fixed=fixed,
        x=x[0],
        x_label=x[1],
        points=points,
        exponents=exponents,
    )


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Fit e of cost ~ size^e by least squares over the logarithms.

    Args:
        sizes (Sequence[float]): Sizes.
        costs (Sequence[float]): Their costs.

    Returns:
        float | None: The exponent; None for fewer than two sizes or if a cost is 0.
    """
    if len(sizes) < 2 or min(costs) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
