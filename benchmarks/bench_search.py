# SPDX-License-Identifier: Apache-2.0
"""Time a query of an index of label-wise embeddings, by torch and by faiss."""

import time
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import describe_environment, parse_args, write
from measure import Call, measure

from mlcl_plugin.command_line import number
from mlcl_plugin.inference.label_index import LabelIndex

DIMS = 512
FOUND = 10
"""Photographs that a query gives."""
PART = 65_536
DESCRIPTION = (
    f'A query gives the {FOUND} photographs whose embedding of a label is most like '
    f"another one, among random unit vectors of {DIMS} numbers, exactly. The label's "
    'embeddings are in memory. "ours" is `LabelIndex.search`; "faiss" is the search of '
    'an `IndexFlatIP` that has been made before, where faiss is installed. Both find '
    'the same photographs in the same order. Processor time of one thread, in turn, '
    'which other work on the machine hardly changes.'
)


@cache
def make_index(photographs: int) -> LabelIndex:
    """An index of one label, which all photographs have."""
    random = np.random.default_rng(0)
    vectors = np.empty((1, photographs, DIMS), np.float16)
    for first in range(0, photographs, PART):
        part = random.standard_normal(vectors[0, first : first + PART].shape, 'f4')
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        vectors[0, first : first + PART] = part
    return LabelIndex(
        embeddings=vectors,
        scores=np.ones((photographs, 1), np.float16),
        images=[f'{place}.jpg' for place in range(photographs)],
        classes=('label',),
        columns=(0,),
        fingerprint='random',
    )


@cache
def make_faiss(photographs: int) -> Any:
    """The same vectors in faiss."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(DIMS)
    for first in range(0, photographs, PART):
        places = np.arange(first, min(first + PART, photographs))
        index.add(make_index(photographs).vectors('label', places).numpy())
    return index


def make(rival: str, photographs: int, queries: int) -> Call:
    """Make the call of one search.

    Args:
        rival (str): ``'ours'`` or ``'faiss'``.
        photographs (int): Photographs in the index.
        queries (int): Embeddings that are compared with them together.

    Returns:
        Callable: Returns ``cosines`` and ``photographs``, one row for each query.
    """
    generator = torch.Generator().manual_seed(1)
    vectors = F.normalize(torch.randn(queries, DIMS, generator=generator), dim=1)
    if rival == 'faiss':
        other = make_faiss(photographs)

        def call() -> dict[str, torch.Tensor]:
            cosines, places = other.search(vectors.numpy(), FOUND)
            return dict(
                cosines=torch.from_numpy(cosines), photographs=torch.from_numpy(places)
            )
    else:
        index = make_index(photographs)

        def call() -> dict[str, torch.Tensor]:
            found = index.search('label', vectors, FOUND)
            return dict(
                cosines=torch.tensor([[m.similarity for m in row] for row in found]),
                photographs=torch.tensor([[m.place for m in row] for row in found]),
            )

    return call


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(
        __doc__,
        args,
        photographs=dict(
            type=number(int, least=FOUND),
            default=100_000,
            help='photographs in the index (default: 100000)',
        ),
    )
    # Processor time is that of all threads.
    torch.set_num_threads(1)
    environment = describe_environment()
    photographs = 200 if args.quick else args.photographs
    rivals = ['ours', *(['faiss'] if find_spec('faiss') else [])]
    comparisons = []
    for queries in (1, 100):
        comparison = measure(
            f'{photographs:,} photographs, queries: {queries}',
            make,
            {
                rival: dict(rival=rival, photographs=photographs, queries=queries)
                for rival in rivals
            },
            2 if args.quick else 15,
            tolerance=1e-6,
            clock=time.process_time,
        )
        comparison.update(items=queries, unit='queries')
        comparisons.append(comparison)
    write(args, 'search', 'Search', DESCRIPTION, environment, comparisons)


if __name__ == '__main__':
    main()
