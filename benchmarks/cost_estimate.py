# SPDX-License-Identifier: Apache-2.0
"""Estimate the memory, the bytes and the time of a training step of a given size.

Operations and bytes are counted; the speed of loading images is measured on CPUs. No
run of this size has been made.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from report import format_bytes, format_seconds

from mlcl_plugin.text_table import table_of_rows

RESULTS = Path(__file__).parent / 'results'

VIEWS, DIMS, WIDTH = 2, 128, 1024
"""Views of an image, width of a projection, width of a label embedding."""
BACKBONE = dict(parameters=42.5e6, macs=31.4e9, channels=2048, places=14 * 14)
"""ResNet-101 at 448 px."""


class Work(NamedTuple):
    """The training to estimate.

    ``flops`` and ``bandwidth`` are what a device sustains, not its peak.
    """

    labels: int
    images: int
    processes: int
    batch: int
    positives: float
    groups: int | None
    flops: float
    bandwidth: float
    loader: float


def measured_loader(results: Path = RESULTS) -> float:
    """Read how many images per second one core loads, measured with two views.

    Raises:
        FileNotFoundError: If it was not measured.
    """
    path = results / 'pipeline.json'
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no '{path}'. Run benchmarks/bench_pipeline.py, or give --loader."
        )
    result = json.loads(path.read_text())
    comparison = result['comparisons'][0]
    return comparison['items'] / median(comparison['rivals']['ours']['seconds'])


def neck_parameters(work: Work) -> float:
    """Count the parameters of the released neck, the classifiers and the projector."""
    channels, queries = BACKBONE['channels'], work.groups or work.labels
    before = 2 * 4 * channels**2
    attention = 2 * channels * WIDTH + 2 * WIDTH**2
    after = 4 * WIDTH**2
    projector = WIDTH**2 + WIDTH * DIMS
    return (
        before
        + attention
        + after
        + projector
        + queries * WIDTH
        + work.labels * WIDTH * (2 if work.groups else 1)
    )


def neck_macs(work: Work) -> float:
    """Count the multiply-adds of neck and head for a view, forward."""
    channels, places = BACKBONE['channels'], BACKBONE['places']
    queries = work.groups or work.labels
    before = 2 * (4 * places * channels**2 + 2 * places**2 * channels)
    # Keys and values of the places; queries and outputs of the labels.
    attention = 2 * places * channels * WIDTH + 2 * queries * WIDTH**2
    attention += 2 * queries * places * WIDTH
    after = 4 * queries * WIDTH**2 + 2 * queries**2 * WIDTH
    projected = work.positives * (WIDTH**2 + WIDTH * DIMS)
    return before + attention + after + work.labels * WIDTH + projected


def embeddings(work: Work) -> tuple[float, float]:
    """Count the embeddings of present labels of one process, and of all."""
    own = work.batch * VIEWS * work.positives
    return own, own * work.processes


def estimate(work: Work) -> list[dict[str, str]]:
    """Estimate what a training needs.

    Args:
        work (Work): The training.

    Returns:
        list[dict[str, str]]: Rows of a table with ``''``, ``value`` and ``from``.
    """
    views = work.batch * VIEWS
    own, everyone = embeddings(work)
    parameters = BACKBONE['parameters'] + neck_parameters(work)
    queries = work.groups or work.labels
    # Weights, gradients, two moments and EMA in float32.
    state = 20 * parameters
    # Tensors (views, queries, width) in half precision that the backward pass needs: 4
    # of the label attention and 6 of the block after it.
    label_axis = 10 * views * queries * WIDTH * 2
    # The blocks of pairs of the loss.
    block = 2 * 1024**2 * 4 + 4 * everyone * (DIMS + 2)
    gradients = 2 * (work.processes - 1) / work.processes * 4 * parameters
    contrast = (work.processes - 1) * (4 * own * (DIMS + 1) + 8 * own)
    backbone = 6 * views * BACKBONE['macs'] / work.flops
    neck = 6 * views * neck_macs(work) / work.flops
    # Own rows with all: similarities twice, products once.
    loss = 3 * 2 * own * everyone * DIMS / work.flops
    reduce = gradients / work.bandwidth
    gather = contrast / work.bandwidth
    # Gradients are exchanged during the backward pass, as far as it is long enough.
    hidden = min(reduce, 2 / 3 * (backbone + neck))
    step = backbone + neck + loss + gather + reduce - hidden
    rate = work.processes * work.batch / step
    rows = [
        ('parameters', f'{parameters / 1e6:.0f} M', 'counted'),
        (
            'weights, gradients, moments, EMA',
            format_bytes(state),
            '20 bytes per parameter',
        ),
        (
            'label axis in the backward pass',
            format_bytes(label_axis),
            f'10 tensors of {views} x {queries:,} x {WIDTH} in half precision',
        ),
        (
            'contrastive loss',
            format_bytes(block),
            f'{everyone:,.0f} embeddings of all processes, two blocks of pairs',
        ),
        (
            'matrices of all pairs, which it avoids',
            format_bytes(3 * 4 * own * everyone),
            'three of own rows x all rows, float32',
        ),
        (
            'gradients sent by a process',
            format_bytes(gradients),
            'in a ring, float32',
        ),
        (
            'embeddings sent by a process',
            format_bytes(contrast),
            f'in a ring; {own:,.0f} own embeddings',
        ),
        ('backbone', format_seconds(backbone), f'{views} views, 6 x MACs'),
        ('neck and head', format_seconds(neck), f'{neck_macs(work) / 1e9:.1f} GMACs'),
        ('contrastive loss', format_seconds(loss), 'own rows with all rows'),
        (
            'exchange of gradients',
            format_seconds(reduce),
            f'of which {format_seconds(hidden)} during the backward pass',
        ),
        ('exchange of embeddings', format_seconds(gather), 'in the forward pass'),
        ('step', format_seconds(step), 'the sum'),
        (
            'epoch of two views',
            f'{work.images / rate / 3600:.2f} h',
            f'{work.images:,} images at {rate:,.0f} per second',
        ),
        (
            'cores that load images',
            f'{rate / work.processes / work.loader:.1f} per process',
            f'{work.loader:.0f} images per second and core, measured: Input pipeline',
        ),
    ]
    return [dict(zip(('', 'value', 'from'), row)) for row in rows]


def parse_args(args: Sequence[str] | None = None) -> Work:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--labels', type=int, default=9600)
    parser.add_argument('--images', type=int, default=9_000_000)
    parser.add_argument('--processes', type=int, default=64)
    parser.add_argument('--batch', type=int, default=32, help='images of a process')
    parser.add_argument(
        '--positives', type=float, default=8, help='labels present in an image'
    )
    parser.add_argument(
        '--groups', type=int, help='groups of labels (default: a query per label)'
    )
    parser.add_argument(
        '--flops', type=float, default=1e14, help='operations per second of a device'
    )
    parser.add_argument(
        '--bandwidth', type=float, default=2e10, help='bytes per second between devices'
    )
    parser.add_argument(
        '--loader',
        type=float,
        help='images per second and core (default: as measured by bench_pipeline.py)',
    )
    args = parser.parse_args(args)
    if args.loader is None:
        args.loader = measured_loader()
    return Work(**vars(args))


def main(args: Sequence[str] | None = None) -> None:
    print(table_of_rows(estimate(parse_args(args))))


if __name__ == '__main__':
    main()
