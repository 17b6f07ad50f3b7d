# SPDX-License-Identifier: Apache-2.0
import threading
from types import SimpleNamespace

import pytest
import torch

from mlcl_plugin.evaluation import class_blocks
from mlcl_plugin.evaluation.class_blocks import map_class_blocks

NUM_CLASSES = 7


def make_matrices(num_rows):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(num_rows, NUM_CLASSES, generator=generator)
    second = torch.randint(-9, 9, (num_rows, NUM_CLASSES), generator=generator)
    return first, second.to(torch.int8)


def figure(first, second):
    """Depends on the order of the rows and on both matrices."""
    places = torch.arange(1, len(first) + 1, dtype=torch.float64)[:, None]
    return (places * first.double() * second).sum(0)


def loop(first, second):
    return [
        sum((i + 1) * first[i, k].double() * second[i, k] for i in range(len(first)))
        for k in range(NUM_CLASSES)
    ]


@pytest.fixture
def limit(monkeypatch):
    def set_limit(entries):
        monkeypatch.setattr(class_blocks, 'BLOCK_ENTRIES', entries)

    return set_limit


@pytest.mark.parametrize('sizes', [[10], [1] * 10, [4, 0, 5, 1]])
@pytest.mark.parametrize(('entries', 'width'), [(1, 1), (20, 2), (39, 3), (10**6, 7)])
def test_blocks(limit, entries, width, sizes):
    limit(entries)
    matrices = make_matrices(10)
    seen = []

    def record(first, second):
        assert first.shape == second.shape == (10, first.shape[1])
        assert (first.dtype, second.dtype) == (torch.float32, torch.int8)
        seen.append(first.shape[1])
        return figure(first, second)

    result = map_class_blocks(record, [m.split(sizes) for m in matrices], [10])
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, torch.tensor(loop(*matrices)).double())
    assert sum(seen) == NUM_CLASSES and max(seen) == width


def test_nan_and_input_stay(limit):
    limit(10)
    matrix = torch.ones(5, NUM_CLASSES)

    def damage(block):
        block.zero_()
        return torch.full((block.shape[1],), torch.nan, dtype=torch.float64)

    assert map_class_blocks(damage, [[matrix]], [5]).isnan().all()
    assert (matrix == 1).all()


class ThreadGroup:
    """Stands for a process group: each thread is a process."""

    def __init__(self, world_size):
        self.world_size = world_size
        self.local = threading.local()
        self.barrier = threading.Barrier(world_size, timeout=20)
        self.parts = {}
        self.sent = [0] * world_size

    def get_rank(self):
        return self.local.rank

    def share(self, value):
        """What all threads gave, by rank."""
        self.parts[self.local.rank] = value
        self.barrier.wait()
        parts = [self.parts[rank] for rank in range(self.world_size)]
        self.barrier.wait()
        return parts

    def all_reduce(self, tensor):
        total = sum(self.share(tensor.clone()))
        tensor.copy_(total)

    def all_to_all_single(self, out, tensor, output_split_sizes, input_split_sizes):
        assert out.numel() == sum(output_split_sizes)
        self.sent[self.local.rank] = max(self.sent[self.local.rank], tensor.numel())
        parts = self.share(tensor.split(input_split_sizes))
        received = [part[self.local.rank] for part in parts]
        assert [part.numel() for part in received] == output_split_sizes
        out.copy_(torch.cat(received))

    def run(self, function):
        results = [None] * self.world_size

        def one(rank):
            self.local.rank = rank
            results[rank] = function(rank)

        threads = [
            threading.Thread(target=one, args=(rank,))
            for rank in range(self.world_size)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


@pytest.mark.parametrize('entries', [1, 20, 40, 10**6])
@pytest.mark.parametrize(
    'num_rows', [[6, 4], [10, 0], [3, 0, 7], [4, 3, 3], [1, 0, 9, 0, 0, 0, 0, 0, 0]]
)
def test_several_processes(monkeypatch, limit, num_rows, entries):
    """As on one process; real processes are in test_across_processes.py."""
    limit(entries)
    matrices = make_matrices(10)
    expected = map_class_blocks(figure, [[matrix] for matrix in matrices], [10])

    group = ThreadGroup(len(num_rows))
    monkeypatch.setattr(class_blocks, 'get_rank', group.get_rank)
    monkeypatch.setattr(class_blocks, 'all_reduce', group.all_reduce)
    monkeypatch.setattr(class_blocks, 'get_comm_device', lambda: torch.device('cpu'))
    monkeypatch.setattr(
        class_blocks,
        'distributed',
        SimpleNamespace(all_to_all_single=group.all_to_all_single),
    )
    parts = [matrix.split(num_rows) for matrix in matrices]
    computed = [0] * len(num_rows)

    def count(rank):
        def counted(first, second):
            computed[rank] += first.shape[1]
            return figure(first, second)

        return counted

    results = group.run(
        lambda rank: map_class_blocks(
            count(rank), [[part[rank]] for part in parts], num_rows
        )
    )
    for result in results:
        assert torch.equal(result, expected)
    # Each class is computed once, and the work is shared out.
    assert sum(computed) == NUM_CLASSES
    assert max(computed) - min(computed) <= max(-(-NUM_CLASSES // len(num_rows)), 3)
    # What a process sends at a time is bounded by its share of the blocks.
    width = max(entries // 10, 1)
    for rank, sent in enumerate(group.sent):
        assert sent <= width * len(num_rows) * num_rows[rank]
