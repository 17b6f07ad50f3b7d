# SPDX-License-Identifier: Apache-2.0
"""Randomness as a function of counters, so that a resumed run repeats nothing.

Random numbers of a training depend on the seed, the epoch and the index of a sample
(augmentations); on the seed, the rank and the epoch (samplers of torch); or on the
seed, the rank and the iteration (dropout, Mixup, sampling in the model). They depend on
no state: not on what was drawn before, nor on the number of dataloader workers. A run
that resumes draws what the uninterrupted run draws.
"""

import random

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset

SAMPLES, ITERATIONS, VIEWS, EPOCHS = range(4)
"""First word of a seed: the streams of samples, iterations, views of which features are
cached, and epochs differ."""

WORD = 2**64 - 1
"""The largest word of the hash."""


def hash_counters(*counters: int) -> int:
    """Mix counters to one word.

    One round of SplitMix64 (Steele et al., OOPSLA 2014) per counter. It takes 2 us for
    four counters, where ``np.random.SeedSequence`` takes 12 us.

    Args:
        *counters (int): The counters.

    Returns:
        int: From 0 to 2**64 - 1.

    Examples:
        >>> hash_counters(0) == 0xE220A8397B1DCDAF
        True
    """
    state = 0
    for counter in counters:
        state = ((state ^ counter) + 0x9E3779B97F4A7C15) & WORD
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & WORD
        state ^= state >> 31
    return state


def set_seed(*counters: int, devices: bool = False) -> None:
    """Seed Python, NumPy and torch by counters.

    It takes about 20 us, mostly for the generators of Python and NumPy. To read an
    image takes milliseconds.

    Args:
        *counters (int): Not negative. Different counters give independent streams.
        devices (bool): Seed the generators of all GPUs too. Defaults to False, since
            dataloader workers have none.
    """
    word = hash_counters(*counters)
    random.seed(word)
    np.random.seed(hash_counters(word, 1) >> 32)
    seed = hash_counters(word, 2)
    torch.default_generator.manual_seed(seed)
    # torch.manual_seed takes 300 us on a machine without a GPU.
    if devices and get_device() != 'cpu':
        torch.manual_seed(seed)


class SeededSamples(Dataset):
    """A dataset whose samples draw random numbers by seed, epoch and index.

    Args:
        dataset (BaseDataset): The dataset, or a wrapper of MMEngine's or ours.
        seed (int): The seed of the run.
    """

    def __init__(self, dataset: BaseDataset, seed: int):
        self.dataset = dataset
        self.seed = seed
        # Workers see what the main process writes.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def metainfo(self) -> dict:
        """dict: Meta information of the dataset."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the annotations, if this has not been done."""
        self.dataset.full_init()

    def get_data_info(self, index: int) -> dict:
        """Annotation of a sample."""
        return self.dataset.get_data_info(index)

    def set_epoch(self, epoch: int) -> None:
        """Let samples draw anew.

        Args:
            epoch (int): The epoch that begins, from 0.
        """
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __deepcopy__(self, memo: dict) -> 'SeededSamples':
        # MMEngine copies the config of a dataloader. A copy of the epoch would not be
        # shared with workers.
        return self

    def __getitem__(self, index: int) -> dict:
        set_seed(SAMPLES, self.seed, int(self._epoch), int(index))
        return self.dataset[index]


@HOOKS.register_module()
class CounterSeedHook(Hook):
    """Seed each epoch of a :class:`SeededSamples` and each iteration of a training.

    :class:`CheckedRunner` registers it. Source of the idea: counter-based random
    numbers (Salmon et al., SC 2011).
    """

    # Before every hook that draws random numbers.
    priority = 'VERY_HIGH'

    samples: SeededSamples | None = None
    """Samples of the training, which other datasets may wrap."""

    def before_train(self, runner: Runner) -> None:
        """Let the order of samples follow the seed that a checkpoint resumes."""
        dataset = self.samples
        if dataset is None:
            return
        sampler = runner.train_dataloader.sampler
        # MMEngine resumes the seed after it has built the sampler. A sampler may have
        # a seed of its own in the config.
        if vars(sampler).get('seed') == dataset.seed:
            sampler.seed = runner.seed
        dataset.seed = runner.seed

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the samples of an epoch, and samplers that draw when it begins."""
        if self.samples is not None:
            self.samples.set_epoch(runner.epoch)
        set_seed(EPOCHS, runner.seed, get_rank(), runner.epoch, devices=True)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed an iteration."""
        set_seed(ITERATIONS, runner.seed, get_rank(), runner.iter, devices=True)
