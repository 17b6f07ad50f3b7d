# SPDX-License-Identifier: Apache-2.0
"""What one of several gloo processes does in test_across_processes.py."""

import sys

import torch
import torch.nn.functional as F
from torch import distributed

from mlcl_plugin.models.losses import EmbeddingMemory, LabelWiseContrastiveLoss

DIMS, NUM_LABELS = 6, 5
#: Embeddings in each process, for up to four of them; and negatives.
SPLITS = dict(
    even=([4, 4, 4, 4], None),
    ragged=([7, 2, 5, 1], None),
    empty_process=([0, 9, 3, 0], None),
    one_holds_all=([11, 0, 0, 0], None),
    nothing=([0, 0, 0, 0], None),
    one_each=([1, 1, 1, 1], None),
    negatives=([5, 3, 0, 4], [2, 0, 4, 1]),
)
STEPS = 3


def make(split, world_size, seed):
    """Embeddings, labels and negatives of each process."""
    sizes, negatives = SPLITS[split]
    generator = torch.Generator().manual_seed(seed)

    def unit(number):
        x = torch.randn(number, DIMS, generator=generator, dtype=torch.float64)
        return F.normalize(x, dim=1)

    parts = []
    for rank in range(world_size):
        labels = torch.randint(NUM_LABELS, (sizes[rank],), generator=generator)
        parts.append(
            (unit(sizes[rank]), labels, unit(negatives[rank]) if negatives else None)
        )
    return parts


def join(parts):
    """The batch of all processes as one."""
    embeddings, labels, negatives = zip(*parts)
    negatives = None if negatives[0] is None else torch.cat(negatives)
    return torch.cat(embeddings), torch.cat(labels), negatives


def make_loss(temperature, with_memory):
    memory = None
    if with_memory:
        memory = dict(type='EmbeddingMemory', size=7, embed_dims=DIMS, num_classes=5)
    return LabelWiseContrastiveLoss(temperature, 1.0, memory=memory)


def run(loss_module, embeddings, labels, negatives):
    leaves = [embeddings.clone().requires_grad_()]
    if negatives is not None:
        leaves.append(negatives.clone().requires_grad_())
    loss = loss_module(leaves[0], labels, *leaves[1:])
    loss.backward()
    return dict(loss=loss.detach(), grads=[leaf.grad for leaf in leaves])


def cases():
    for split in SPLITS:
        for temperature in (0.2, 0.001):
            for with_memory in (False, True):
                yield split, temperature, with_memory


def all_results(world_size, pick):
    """The results of all cases, for the part of each batch that ``pick`` gives."""
    results = {}
    for split, temperature, with_memory in cases():
        module = make_loss(temperature, with_memory)
        for step in range(STEPS if with_memory else 1):
            part = pick(make(split, world_size, seed=step))
            results[split, temperature, with_memory, step] = run(module, *part)
        if with_memory:
            results[split, temperature, 'memory'] = module.memory.read()
    return results


def remember_in_order():
    """Every process remembers the same, in the same order."""
    memory = EmbeddingMemory(size=4, embed_dims=1)
    rank = float(distributed.get_rank())
    memory.write(torch.tensor([[rank], [rank + 0.5]]), torch.tensor([0, 1]))
    return memory.read()


def main(rank, world_size, port, out):
    distributed.init_process_group('gloo', rank=int(rank), world_size=int(world_size))
    results = all_results(int(world_size), lambda parts: parts[int(rank)])
    results['in_order'] = remember_in_order()
    torch.save(results, out)


if __name__ == '__main__':
    main(*sys.argv[1:])
