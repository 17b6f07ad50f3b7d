# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_across_processes.py."""

import sys

import torch
from mmpretrain.structures import DataSample
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mlcl_plugin.models import LabelAttentionNeck, LabelWiseClsHead

NUM_LABELS, CHANNELS, DIMS = 7, 6, 8
#: Images in each process, for up to four of them.
BATCHES = dict(even=[2, 2, 2, 2], ragged=[3, 1, 2, 4])
#: Share of labels that are present; labels that are unknown.
TARGETS = dict(
    common=dict(present=0.4, unknown=0.0),
    unknown=dict(present=0.3, unknown=0.4),
    one_process_has_none=dict(present=0.9, unknown=0.1, empty=1),
    none=dict(present=0.0, unknown=0.3),
)
HEADS = dict(
    plain={},
    hardest=dict(min_contrast_size=60),
    groups=dict(num_groups=3, min_contrast_size=20),
    batch=dict(loss_reduction='batch'),
)


def make(batch, targets, world_size):
    """Feature maps and targets of each process."""
    generator = torch.Generator().manual_seed(0)
    options = TARGETS[targets]
    parts = []
    for rank in range(world_size):
        number = BATCHES[batch][rank]
        x = torch.randn(number, CHANNELS, 2, 3, generator=generator).double()
        draws = torch.rand(2, number, NUM_LABELS, generator=generator)
        y = (draws[0] < options['present']).double()
        if options.get('empty') == rank:
            y.zero_()
        y[draws[1] < options['unknown']] = -1
        parts.append((x, y))
    return parts


def join(parts):
    return tuple(map(torch.cat, zip(*parts)))


class Model(nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(1)
        self.neck = LabelAttentionNeck(
            NUM_LABELS,
            CHANNELS,
            DIMS,
            num_heads=2,
            num_groups=options.get('num_groups'),
        )
        self.head = LabelWiseClsHead(
            NUM_LABELS,
            DIMS,
            loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
            projector=dict(out_channels=5),
            **options,
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)
        self.double()

    def forward(self, x, y):
        return self.head.loss(
            self.neck(x), [DataSample().set_gt_score(row) for row in y]
        )


def all_results(world_size, pick, wrap):
    results = {}
    for batch in BATCHES:
        for targets in TARGETS:
            for name, options in HEADS.items():
                model = Model(**options)
                # Kept alive for the backward pass, in which DDP does its work.
                wrapped = wrap(model)
                losses = wrapped(*pick(make(batch, targets, world_size)))
                sum(losses.values()).backward()
                results[batch, targets, name] = dict(
                    contrast=losses['loss_contrastive'].detach(),
                    cls=losses['loss_cls'].detach(),
                    grads={n: p.grad for n, p in model.named_parameters()},
                )
    return results


def main(rank, world_size, port, out):
    distributed.init_process_group('gloo', rank=int(rank), world_size=int(world_size))
    results = all_results(
        int(world_size), lambda parts: parts[int(rank)], DistributedDataParallel
    )
    torch.save(results, out)


if __name__ == '__main__':
    main(*sys.argv[1:])
