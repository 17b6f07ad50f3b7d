# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_across_processes.py."""

import sys

import torch
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample
from torch import distributed

from mlcl_plugin.evaluation import MultiLabelRecognitionMetric, class_blocks

SIZE, NUM_CLASSES, BATCH_SIZE = 17, 7, 3

#: Samples of each process, for up to three of them: as a sampler gives them, ...
SAMPLERS = dict(
    padded=dict(shuffle=False),
    padded_and_shuffled=dict(shuffle=True, seed=3),
    unpadded=dict(shuffle=False, round_up=False),
)
#: ... or so many, in the order of the dataset.
SPLITS = dict(
    ragged=[12, 5, 0],
    empty_first_process=[0, 17, 0],
    one_holds_all=[17, 0, 0],
    one_sample=[0, 1, 0],
)
#: Splits that must fail on all processes, with the dataset's size.
FAILURES = dict(
    not_padding=([12, 9, 4], SIZE),
    more_than_padding=([10, 10, 10], SIZE),
    no_sample=([0, 0, 0], SIZE),
    size_0=([0, 0, 0], 0),
)
OPTIONS = dict(
    default={},
    classwise=dict(classwise=True, absent_classes='zero', topk=2, prefix='own'),
)
#: Entries of a block: one class, one or two classes of 17 rows, and all.
BLOCKS = (1, 40, 10**6)


def make_data(num_classes=NUM_CLASSES):
    """Scores with ties and infinities, targets with unknown and absent classes."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(SIZE, num_classes, generator=generator)
    scores = (scores * 8).round() / 8
    targets = torch.randint(-1, 2, (SIZE, num_classes), generator=generator)
    scores[::5, 0], scores[1::5, 0] = -torch.inf, torch.inf
    if num_classes > 3:
        targets[:, 3] = targets[:, 3].clamp(max=0)
    return scores, targets


def make_samples(indices, num_classes=NUM_CLASSES):
    scores, targets = make_data(num_classes)
    return [
        DataSample().set_pred_score(scores[i]).set_gt_score(targets[i]) for i in indices
    ]


def evaluate(samples, size=SIZE, **options):
    """What a runner does; also whether the metric is ready for the next round."""
    metric = MultiLabelRecognitionMetric(**options)
    evaluator = Evaluator(metric)
    for start in range(0, len(samples), BATCH_SIZE):
        evaluator.process(samples[start : start + BATCH_SIZE])
    values = evaluator.evaluate(size)
    return values, metric.results == []


def split_range(numbers, rank):
    start = sum(numbers[:rank])
    return range(start, start + numbers[rank])


def parts(rank):
    """Names of the cases and the samples of this process."""
    for name, kwargs in SAMPLERS.items():
        yield name, list(DefaultSampler(range(SIZE), **kwargs))
    for name, numbers in SPLITS.items():
        yield name, split_range(numbers, rank)


def all_results(rank, world_size):
    results = {}
    for name, indices in parts(rank):
        size = 1 if name == 'one_sample' else SIZE
        for entries in BLOCKS:
            class_blocks.BLOCK_ENTRIES = entries
            for option, kwargs in OPTIONS.items():
                samples = make_samples(indices)
                key = name, entries, option
                results[key] = evaluate(samples, size, **kwargs)

    # Fewer classes than processes.
    indices = split_range(SPLITS['ragged'], rank)
    results['one_class'] = evaluate(make_samples(indices, num_classes=1))

    for name, (numbers, size) in FAILURES.items():
        indices = [index % SIZE for index in split_range(numbers, rank)]
        results[name] = message(make_samples(indices), size)
    samples = make_samples(range(2), num_classes=4 + min(rank, 1))
    results['widths'] = message(samples, 2 * world_size)

    # Whole arrays are the business of one process.
    if rank == 0:
        results['calculate'] = MultiLabelRecognitionMetric.calculate(*make_data())
    return results


def message(samples, size):
    try:
        evaluate(samples, size)
    except ValueError as error:
        return str(error)


if __name__ == '__main__':
    rank, world_size, _, out = sys.argv[1:]
    distributed.init_process_group('gloo', rank=int(rank), world_size=int(world_size))
    torch.save(all_results(int(rank), int(world_size)), out)
