# SPDX-License-Identifier: Apache-2.0
"""Measure what neighbours cost: time beside the backbone, bytes, growth with images."""

from collections.abc import Sequence

import torch
from common import describe_environment, parse_args, quiet, write
from measure import Call, grow, measure
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from report import format_bytes, format_seconds

from mlcl_plugin.engine import keep_memory
from mlcl_plugin.models import LabelNeighbours
from mlcl_plugin.models.neighbours.exact_products import quantise_keys, unit_vectors

# COCO 2014 train.
IMAGES, LABELS, WIDTH = 82081, 80, 1024
PRESENT = 0.036
DIMS = 32
PROTOTYPES = (32, 64)
DESCRIPTION = (
    'Votes of `LabelNeighbours` for a batch, given its label-wise embeddings of width '
    f'{WIDTH}, from made memories of random vectors of {DIMS} numbers per image and '
    'label. "Backbone" is the forward pass of ResNet-101 on images of 448 px in '
    'float32, measured in turn with the neighbours. "Exact" compares with every entry, '
    'and the 1,000 nearest vote; "prototypes" has 32 centres of present and 64 of '
    'absent entries per label. Bytes are those of the memory in the checkpoint. '
    'Processes keep freed memory, as the tools do.'
)


def make_memory(
    images: int,
    labels: int = LABELS,
    dims: int = DIMS,
    width: int = WIDTH,
    storage: str = 'float16',
    prototypes: bool = False,
    num_neighbours: int | None = 1000,
) -> LabelNeighbours:
    """Make a memory of random vectors, without embeddings of images.

    Args:
        images (int): Number of images N.
        labels (int): Number of labels L. Defaults to COCO's 80.
        dims (int): Numbers per image and label. Defaults to 32.
        width (int): Width of the embeddings that are projected. Defaults to 1024.
        storage (str): Type of a stored number. Defaults to ``'float16'``.
        prototypes (bool): Whether to store centres only, which stand for all images.
            Defaults to False.
        num_neighbours (int, optional): Entries that vote. Defaults to 1000.

    Returns:
        LabelNeighbours: As a checkpoint gives it.
    """
    generator = torch.Generator().manual_seed(0)
    memory = LabelNeighbours(num_neighbours=num_neighbours, dims=dims, storage=storage)
    entries = sum(PROTOTYPES) if prototypes else images
    keys = torch.empty(labels, entries, dims, dtype=memory.keys.dtype)
    for label in range(labels):
        vectors = torch.randn(entries, dims, generator=generator)
        keys[label] = quantise_keys(unit_vectors(vectors), keys.dtype)
    targets = torch.rand(labels, entries, generator=generator) < PRESENT
    targets[:, : max(1, PROTOTYPES[0] if prototypes else 0)] = True
    targets[:, -1] = False
    names = '["' + '", "'.join(f'train/{n:012}.jpg' for n in range(images)) + '"]'
    axes = unit_vectors(torch.randn(labels, dims, width, generator=generator))
    memory.keys = keys
    memory.targets = targets.to(torch.int8)
    memory.images = torch.arange(entries, dtype=torch.int32)[None]
    if prototypes:
        memory.images = memory.images.expand(labels, -1).contiguous()
        memory.counts = torch.full_like(memory.images, max(1, images // entries))
    memory.axes = quantise_keys(axes)
    memory.names = torch.frombuffer(bytearray(names.encode()), dtype=torch.uint8)
    return memory


def make(batch: int = 1, backbone: int = 0, **memory) -> Call:
    """Make the call of the votes or of the backbone's forward pass.

    Args:
        batch (int): Images in a batch. Defaults to 1.
        backbone (int): Side of the images of the backbone; 0 measures a memory.
            Defaults to 0.
        **memory: Arguments of :func:`make_memory`.

    Returns:
        Callable: Returns ``value``.
    """
    quiet()
    keep_memory()
    generator = torch.Generator().manual_seed(1)
    if backbone:
        init_default_scope('mmpretrain')
        # A small one shows that it runs.
        depth, width = (101, 64) if backbone > 64 else (18, 4)
        model = MODELS.build(
            dict(type='ResNet', depth=depth, base_channels=width, stem_channels=width)
        )
        # Its train() returns nothing.
        model.eval()
        inputs = torch.randn(batch, 3, backbone, backbone, generator=generator)
        forward = model
    else:
        forward = make_memory(**memory)
        labels, width = forward.axes.shape[0], forward.axes.shape[2]
        inputs = torch.randn(batch, labels, width, generator=generator)

    def call() -> dict:
        with torch.no_grad():
            result = forward(inputs)
        # The votes for and against, or the last feature map.
        return dict(value=list(result))

    return call


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args)
    environment = describe_environment()
    images, labels, width, side = IMAGES, LABELS, WIDTH, 448
    batches, repeats, sizes = ((1, 9), (8, 5)), 5, (2500, 10_000, 40_000, IMAGES)
    if args.quick:
        images, labels, width, side = 300, 3, 64, 32
        batches, repeats, sizes = ((1, 3), (2, 3)), 3, (100, 300)
    base = dict(images=images, labels=labels, width=width)
    forms = {
        'exact, float16': {},
        'exact, int8': dict(storage='int8'),
        'all vote, float16': dict(num_neighbours=None),
        'prototypes': dict(prototypes=True),
    }
    comparisons, rows = [], []
    for batch, turns in batches:
        result = measure(
            f'{images:,} images, L = {labels}, batch {batch}',
            make,
            {f'backbone, {side} px': dict(backbone=side, batch=batch)}
            | {name: base | form | dict(batch=batch) for name, form in forms.items()},
            turns,
        )
        comparisons.append(result)
    for name, form in forms.items():
        row = {'': name, 'bytes': format_bytes(make_memory(**base, **form).num_bytes)}
        for (batch, _), result in zip(batches, comparisons):
            rival = result['rivals'][name]
            per_image = sorted(rival['seconds'])[len(rival['seconds']) // 2] / batch
            row[f'per image, batch {batch}'] = format_seconds(per_image)
            share = rival['ratio']['median']
            row[f'of the backbone, batch {batch}'] = f'{100 * share:.2g} %'
        rows.append(row)
    curve = grow(
        'Votes of neighbours',
        make,
        {name: base | form | dict(batch=8) for name, form in forms.items()},
        ('images', 'N', 'images N'),
        sizes,
        repeats,
        warm=dict(images=100, labels=3),
        fixed=f'L = {labels}, {DIMS} numbers, batch 8',
    )
    bytes_rows = [
        {
            '': name,
            **{
                f'N = {size:,}': format_bytes(
                    make_memory(**(base | form | dict(images=size))).num_bytes
                )
                for size in sizes
            },
        }
        for name, form in forms.items()
    ]
    write(
        args,
        'neighbours',
        'Neighbours',
        DESCRIPTION,
        environment,
        comparisons,
        [curve],
        [
            dict(title='Bytes and time beside the backbone', rows=rows),
            dict(title='Bytes by the number of images', rows=bytes_rows),
        ],
    )


if __name__ == '__main__':
    main()
