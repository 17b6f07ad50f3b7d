# SPDX-License-Identifier: Apache-2.0
"""A hook that writes down which images each process trains on, for shard_scale.py."""

import os
from collections import Counter
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class SeenImagesHook(Hook):
    """Append process id, epoch, batch and images of each iteration to ``FILE.RANK``.

    Args:
        file (str): The file, to which a dot and the rank are added.
    """

    priority = 'VERY_LOW'

    def __init__(self, file: str) -> None:
        self.file = file

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Write a line; ``batch_idx`` counts from the start of the epoch."""
        images = (brief(sample.img_path) for sample in data_batch['data_samples'])
        with open(f'{self.file}.{get_rank()}', 'a') as file:
            file.write(f'{os.getpid()} {runner.epoch} {batch_idx} {" ".join(images)}\n')


def brief(path: str) -> str:
    """Name a member of a tar file by offset and shard.

    Examples:
        >>> brief('tar://512+900/data/train-07.tar')
        '512+900/train-07.tar'
    """
    place = path.removeprefix('tar://').partition('/')[0]
    return f'{place}/{os.path.basename(path)}'


def read_seen(file: Path, processes: int) -> list[list]:
    """Read what was written: rank, process id, epoch, batch, images of each line."""
    lines = []
    for rank in range(processes):
        path = Path(f'{file}.{rank}')
        for line in path.read_text().splitlines() if path.is_file() else ():
            pid, epoch, batch, *images = line.split()
            lines.append([rank, int(pid), int(epoch), int(batch), images])
    return lines


def count_seen(file: Path, processes: int) -> dict:
    """Count how often images were trained on.

    What a process trained after the last checkpoint before it was killed is lost, and
    trained again. Of each batch the last time counts.

    Returns:
        dict: ``epochs``, for each epoch the number of ``batches`` and of ``images``, of
        images seen ``once`` and ``more``, and of ``batches_again``, which were trained
        twice; ``differing``, the number of batches that had other images the second
        time; and ``lives``, the number of processes of rank 0.
    """
    last: dict[tuple, list[str]] = {}
    again: Counter = Counter()
    differing = 0
    lines = read_seen(file, processes)
    for rank, _, epoch, batch, images in lines:
        key = (epoch, rank, batch)
        if key in last:
            again[epoch] += 1
            differing += last[key] != images
        last[key] = images
    epochs = {}
    for epoch in sorted({key[0] for key in last}):
        batches = [images for key, images in last.items() if key[0] == epoch]
        times = Counter(image for images in batches for image in images)
        epochs[epoch] = dict(
            batches=len(batches),
            images=len(times),
            once=sum(number == 1 for number in times.values()),
            more=sum(number > 1 for number in times.values()),
            batches_again=again[epoch],
        )
    lives = len({line[1] for line in lines if line[0] == 0})
    return dict(epochs=epochs, differing=differing, lives=lives)
