# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch

MEGABYTE = 10**6
ALLOCATE = """
def make(before, during):
    block = b'x' * before
    del block
    return lambda: b'x' * during
"""


@pytest.fixture
def measure(load):
    return load('measure')


@pytest.fixture
def clock(measure, monkeypatch):
    """A clock that only moves when it is told to."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        measure, 'time', SimpleNamespace(perf_counter=lambda: clock.now)
    )
    return clock


@pytest.fixture
def rival(clock):
    """Function that makes a rival which takes the given seconds, call by call."""

    def make(*seconds, calls=None, name=None):
        left = list(seconds)

        def call():
            if calls is not None:
                calls.append(name)
            clock.now += left.pop(0)
            return {}

        return call

    return make


def test_ratios_are_taken_turn_by_turn(measure, rival):
    """A machine that slows down changes the times, but no ratio."""
    rivals = dict(ours=rival(9, 1, 2, 4, 16), other=rival(9, 3, 6, 12, 48))
    result = measure.compare(rivals, repeats=4)
    assert result['base'] == 'ours'
    assert result['rivals']['ours']['seconds'] == [1, 2, 4, 16]
    assert result['rivals']['other']['seconds'] == [3, 6, 12, 48]
    assert result['rivals']['other']['ratio'] == dict(median=3, low=3, high=3)
    assert result['rivals']['ours']['ratio'] == dict(median=1, low=1, high=1)


def test_spread(measure, rival):
    rivals = dict(a=rival(2, 2, 2, 2, 2), b=rival(1, 1, 1, 1, 1))
    rivals['c'] = rival(5, 1, 4, 2, 3)
    result = measure.compare(rivals, repeats=5, warmup=0, base='b')
    assert result['rivals']['a']['ratio']['median'] == 2
    assert result['rivals']['c']['ratio'] == dict(median=3, low=2, high=4)
    single = measure.compare(dict(d=rival(7)), repeats=1, warmup=0)
    assert single['rivals']['d']['ratio'] == dict(median=1, low=1, high=1)


def test_order(measure, rival):
    """Each is warmed up, then they go forth and back."""
    calls = []
    rivals = {n: rival(1, 1, 1, 1, 1, calls=calls, name=n) for n in 'abc'}
    measure.compare(rivals, repeats=3, warmup=2)
    assert ''.join(calls) == 'aabbcc' + 'abc' + 'cba' + 'abc'


def test_settle(measure, rival):
    """A call that is not timed comes before each that is."""
    calls = []
    rivals = {n: rival(9, 5, 1, 6, 2, calls=calls, name=n) for n in 'ab'}
    result = measure.compare(rivals, repeats=2, settle=1)
    assert ''.join(calls) == 'ab' + 'aabb' + 'bbaa'
    assert result['rivals']['a']['seconds'] == [1, 2]


def test_deviations(measure):
    ours = dict(
        value=torch.tensor([4.0, -8.0]), gradient=[torch.ones(2), torch.ones(())]
    )
    rivals = dict(
        ours=lambda: ours,
        equal=lambda: ours,
        other=lambda: dict(
            value=torch.tensor([4.0, -8.8]),
            gradient=[torch.ones(2), torch.tensor(1.05)],
        ),
    )
    found = measure.deviations(rivals, tolerance=0.11)
    assert found['ours'] == found['equal'] == dict(value=0, gradient=0)
    assert found['other']['value'] == pytest.approx(0.1)
    assert found['other']['gradient'] == pytest.approx(0.05)
    assert measure.deviations(rivals, dict(ours=0, equal=0, other=0.2)) == found
    with pytest.raises(ValueError, match=r"'other' deviates.*at most 0.09"):
        measure.deviations(rivals, tolerance=0.09)


def test_nan_deviates(measure):
    rivals = dict(
        ours=lambda: dict(value=torch.ones(2)),
        other=lambda: dict(value=torch.tensor([1.0, torch.nan])),
    )
    with pytest.raises(ValueError, match="'other' deviates"):
        measure.deviations(rivals, tolerance=1e9)


def test_rivals_that_disagree_are_not_timed(measure):
    def make(value):
        return lambda: dict(value=torch.tensor(value))

    rivals = dict(ours=dict(value=1.0), other=dict(value=2.0))
    with pytest.raises(ValueError, match="'other' deviates"):
        measure.measure('', make, rivals, repeats=1, tolerance=0.1)
    result = measure.measure('title', make, rivals, repeats=1, tolerance=1)
    assert result['title'] == 'title' and result['base'] == 'ours'
    assert result['rivals']['other']['deviation'] == dict(value=1)


def test_grow(measure, clock):
    """Exponents of a quadratic and of a cubic cost."""

    def make(power, size):
        def call():
            clock.now += 0.5 * size**power
            return {}

        return call

    curve = measure.grow(
        'title',
        make,
        dict(square=dict(power=2), cube=dict(power=3)),
        ('size', 'N', 'size N'),
        (10, 20, 80),
        repeats=3,
    )
    assert curve['points']['square'] == [
        dict(x=x, seconds=0.5 * x**2, memory=None) for x in (10, 20, 80)
    ]
    assert curve['exponents']['square'] == dict(seconds=pytest.approx(2))
    assert curve['exponents']['cube'] == dict(seconds=pytest.approx(3))


def test_exponent_is_a_least_squares_fit(measure):
    # log2 of the costs over log2 of the sizes: (0, 0), (1, 2), (2, 1)
    assert measure.exponent([1, 2, 4], [1, 4, 2]) == pytest.approx(0.5)
    assert measure.exponent([1], [1]) is None
    assert measure.exponent([1, 2], [0, 5]) is None


def test_memory(measure, tmp_path, monkeypatch):
    """What the call takes counts, what came before it does not."""
    (tmp_path / 'allocate.py').write_text(ALLOCATE)
    monkeypatch.syspath_prepend(tmp_path)
    import allocate

    case = dict(before=300 * MEGABYTE, during=150 * MEGABYTE)
    found = measure.peak_memory(allocate.make, case, dict(before=1, during=1))
    assert 149 * MEGABYTE < found['extra'] < 155 * MEGABYTE
    assert found['peak'] == found['before'] + found['extra']
    assert found['seconds'] > 0


def test_gpu_is_waited_for(measure, clock, monkeypatch):
    """What a GPU still computes when a call returns counts, too; so does its memory."""
    queue, memory = [], SimpleNamespace(now=100, peak=400)

    def synchronize():
        clock.now += sum(queue)
        queue.clear()

    def make(seconds):
        def call():
            queue.append(seconds)
            memory.peak = memory.now + 50
            return {}

        return call

    for name, function in dict(
        synchronize=synchronize,
        reset_peak_memory_stats=lambda: setattr(memory, 'peak', memory.now),
        memory_allocated=lambda: memory.now,
        max_memory_allocated=lambda: memory.peak,
    ).items():
        monkeypatch.setattr(torch.cuda, name, function)
    rivals = dict(slow=dict(seconds=4.0), fast=dict(seconds=1.0))
    result = measure.measure('', make, rivals, 3, warm={}, device='cuda')
    found = result['rivals']
    assert found['slow']['seconds'] == [4.0] * 3
    assert found['fast']['ratio']['median'] == 0.25
    assert found['slow']['memory'] == dict(before=100, peak=150, extra=50, seconds=4.0)
    curve = measure.grow(
        '', make, {'a': {}}, ('seconds', 'N', ''), (1, 2), 1, device='cuda'
    )
    assert [point['seconds'] for point in curve['points']['a']] == [1, 2]


APART = """
import torch

made = []


def make(step, off=0.0):
    made.append(step)
    # Of an earlier rival in this process there would be a trace.
    assert made == [step]
    return lambda: dict(value=torch.tensor([1.0 + off]), calls=torch.tensor([1.0]))
"""


@pytest.mark.slow
def test_apart(measure, tmp_path, monkeypatch):
    """Every rival gets a process of its own in every turn."""
    (tmp_path / 'apart.py').write_text(APART)
    monkeypatch.syspath_prepend(tmp_path)
    import apart

    rivals = dict(first=dict(step=1), second=dict(step=2, off=0.5))
    tolerance = dict(first=0, second=0.6)
    result = measure.measure_apart('title', apart.make, rivals, 2, 3, tolerance)
    assert result['base'] == 'first' and result['title'] == 'title'
    assert list(result['rivals']) == ['first', 'second']
    for rival in result['rivals'].values():
        assert len(rival['seconds']) == 2 and min(rival['seconds']) > 0
    assert result['rivals']['first']['ratio']['median'] == 1
    assert result['rivals']['second']['deviation'] == dict(value=0.5, calls=0)
    with pytest.raises(ValueError, match="'second' deviates"):
        measure.measure_apart('', apart.make, rivals, 1, 1, dict(first=0, second=0.1))
