# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_cgmvae_across_processes.py."""

import sys
from unittest import mock

import torch
from mmpretrain.structures import DataSample
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mlcl_plugin.models.heads.cgmvae_head import CGMVAEHead
from mlcl_plugin.models.losses import (  # noqa: F401
    gaussian_mixture_kl_loss,
    label_embedding_contrastive_loss,
)

NUM_LABELS, CHANNELS = 4, 5
#: Targets of two processes, with different numbers of images that have a label.
TARGETS = dict(
    even=([[1, 0, 0, 1], [0, 1, 1, 0]], [[0, 0, 1, 0], [1, 1, 1, 1]]),
    ragged=([[1, 0, 0, 1]], [[0, 1, 0, 1], [1, -1, 0, 0], [1, 1, 0, 0]]),
    unlabelled=([[1, 0, 0, 1], [0, 0, 0, 0]], [[0, 1, 0, 1], [1, -1, 0, 0]]),
    one_process_has_none=([[-1, 0, 0, -1]], [[0, 1, 0, 1], [1, 0, 0, 0]]),
    none=([[0, 0, 0, 0]], [[-1, -1, 0, 0], [0, 0, 0, 0]]),
)


def make(name):
    """Vectors and targets of each process."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(len(rows), CHANNELS, generator=generator).double(),
            torch.tensor(rows).double(),
        )
        for rows in TARGETS[name]
    ]


def join(parts):
    return tuple(map(torch.cat, zip(*parts)))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.head = CGMVAEHead(
            NUM_LABELS, CHANNELS, latent_dims=3, embed_dims=8, dropout=0.0
        ).double()

    def forward(self, x, y):
        return self.head.loss((x,), [DataSample().set_gt_score(row) for row in y])


def all_results(pick, wrap):
    results = {}
    for name in TARGETS:
        model = Model()
        wrapped = wrap(model)
        # The same noise for each image, whatever process it is in.
        with mock.patch('torch.randn_like', torch.ones_like):
            losses = wrapped(*pick(make(name)))
        sum(losses.values()).backward()
        results[name] = dict(
            losses={key: value.detach() for key, value in losses.items()},
            grads={key: p.grad for key, p in model.named_parameters()},
        )
    return results


def main(rank, world_size, port, out):
    distributed.init_process_group('gloo', rank=int(rank), world_size=int(world_size))
    results = all_results(lambda parts: parts[int(rank)], DistributedDataParallel)
    torch.save(results, out)


if __name__ == '__main__':
    main(*sys.argv[1:])
