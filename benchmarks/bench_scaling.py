# SPDX-License-Identifier: Apache-2.0
"""Measure how cost grows with the batch and with the number of processes."""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median

import bench_label_axis
import bench_train_step
import torch
import torch.nn.functional as F
from bench_label_axis import LIGHT, RELEASED
from common import describe_environment, parse_args, write
from measure import deviations, fit, grow
from torch import distributed

from mlcl_plugin.models.losses import label_wise_contrastive_loss

DESCRIPTION = (
    'Neck and head and a training step over the batch. The contrastive loss over '
    'processes: each has its share of the embeddings and one thread, and contrasts '
    'them with those of all processes (gloo). The slowest process counts; value and '
    'gradients are compared with those of one process. If there are more processes '
    'than cores, they share the cores.'
)


def contrast(
    rank: int, world_size: int, store: str, num_embeddings: int, repeats: int
) -> dict:
    """Run the contrastive loss forward and backward in one of several processes.

    Args:
        rank (int): The index of the process.
        world_size (int): Number of processes.
        store (str): File through which they find each other.
        num_embeddings (int): Embeddings of all processes.
        repeats (int): Timed calls.

    Returns:
        dict: ``seconds`` of each call, the ``value``, and the ``gradient`` of this
        process's embeddings as DDP averages it.
    """
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=world_size
    )
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(num_embeddings, 128, generator=generator), dim=1)
    labels = torch.arange(num_embeddings) % max(num_embeddings // 16, 1)
    z = z.tensor_split(world_size)[rank].clone().requires_grad_()
    labels = labels.tensor_split(world_size)[rank]
    seconds = []
    # One more, to warm up.
    for _ in range(repeats + 1):
        distributed.barrier()
        start = time.perf_counter()
        loss = label_wise_contrastive_loss(z, labels, across_processes=True)
        (gradient,) = torch.autograd.grad(loss, z)
        seconds.append(time.perf_counter() - start)
    distributed.destroy_process_group()
    return dict(
        seconds=seconds[1:],
        value=loss.item(),
        gradient=(gradient / world_size).numpy(),
    )


def run_processes(world_size: int, num_embeddings: int, repeats: int) -> dict:
    """Let several processes contrast their embeddings.

    Args:
        world_size (int): Number of processes.
        num_embeddings (int): Embeddings of all of them.
        repeats (int): Timed calls.

    Returns:
        dict: ``seconds``, the median over calls of the slowest process; ``value``
        and ``gradient`` of the joined batch.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(world_size, mp_context=get_context('spawn')) as pool,
    ):
        store = os.path.join(folder, 'store')
        # Each waits for the others, so that no worker runs two of them.
        results = [
            pool.submit(contrast, rank, world_size, store, num_embeddings, repeats)
            for rank in range(world_size)
        ]
        results = [result.result() for result in results]
    return dict(
        seconds=median(map(max, zip(*(result['seconds'] for result in results)))),
        value=torch.tensor([result['value'] for result in results]).mean(),
        gradient=[torch.from_numpy(result['gradient']) for result in results],
    )


def grow_processes(numbers: Sequence[int], num_embeddings: int, repeats: int) -> dict:
    """Measure the contrastive loss over processes, and check that results agree."""
    results = {n: run_processes(n, num_embeddings, repeats) for n in numbers}
    points = [
        dict(x=n, seconds=result.pop('seconds'), memory=None)
        for n, result in results.items()
    ]
    deviations(
        {f'{n} processes': lambda r=r: r for n, r in results.items()}, tolerance=1e-4
    )
    return fit(
        'Contrastive loss across processes, forward and backward',
        dict(ours=points),
        ('P', 'processes P'),
        fixed=f'N = {num_embeddings:,} in all, D = 128, float32',
    )


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args)
    environment = describe_environment()
    size, step, batches, images = dict(num_labels=80), {}, (1, 2, 4, 8, 16), (1, 2, 4)
    processes, num_embeddings = (1, 2, 4), 16384
    places = '14 x 14 places of 2048 channels'
    tiny = dict(num_labels=4, batch=2, channels=16, dims=8, side=2)
    tiny_step = dict(images=1, pixels=32, small=True)
    if args.quick:
        size, step, batches, images = tiny, tiny_step, (1, 2), (1, 2)
        processes, num_embeddings, places = (1, 2), 64, '2 x 2 places of 16 channels'
    curves = [
        grow(
            'Neck and head, forward and backward',
            bench_label_axis.make,
            {
                'released neck': size | dict(blocks=RELEASED),
                'light neck': size | dict(blocks=LIGHT),
            },
            ('batch', 'B', 'images B'),
            batches,
            repeats=5,
            warm=tiny,
            fixed=f'L = {size["num_labels"]}, {places}, float32',
        ),
        grow(
            'Training step of mlcl_r101_coco.py',
            bench_train_step.make,
            {'released neck': step, 'light neck': step | dict(kind='light')},
            ('images', 'B', 'images B, of two views'),
            images,
            repeats=3,
            warm=tiny_step,
            fixed=f'{step.get("pixels", 448)} px, L = 80, float32',
        ),
        grow_processes(processes, num_embeddings, repeats=5),
    ]
    write(
        args,
        'scaling',
        'Batch and processes',
        DESCRIPTION,
        environment,
        curves=curves,
    )


if __name__ == '__main__':
    main()
