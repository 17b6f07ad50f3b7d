# SPDX-License-Identifier: Apache-2.0
"""Measure what neighbours cost: bytes, and time beside the backbone."""

import time
from collections.abc import Sequence
from statistics import median

import torch
from common import describe_environment, parse_args, quiet, write
from measure import Call, measure
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from report import format_bytes, format_seconds
from torch import nn

from mlcl_plugin.command_line import number
from mlcl_plugin.engine import keep_memory
from mlcl_plugin.models import LabelNeighbours
from mlcl_plugin.models.neighbours.exact_products import quantise_keys, unit_vectors

PRESENT = 0.036
DIMS = 32
PROTOTYPES = (32, 64)
# Share of the absent entries that stay in a memory of hard negatives.
HARD = 0.25
# Images, labels, width of an embedding; the backbone and the side of its images.
SETTINGS = {
    'VOC2007 train': (
        dict(images=2500, labels=20, width=512),
        ('EfficientNet-Lite0', 224),
    ),
    'COCO 2014 train': (
        dict(images=82081, labels=80, width=1024),
        ('ResNet-101', 448),
    ),
}
TINY = dict(images=300, labels=3, width=64)
# More than this is only counted: it may not fit into memory.
LARGEST = 1e9
FORMS: dict[str, dict] = {
    'all, float16': dict(dims=None),
    'all, int8': dict(dims=None, storage='int8'),
    f'{DIMS} axes, float16': {},
    f'{DIMS} axes, int8': dict(storage='int8'),
    'centres': dict(dims=None, prototypes=True),
    f'centres, {DIMS} axes': dict(prototypes=True),
    f'{DIMS} axes, hard negatives': dict(share=PRESENT + (1 - PRESENT) * HARD),
}
DESCRIPTION = (
    'Votes of `LabelNeighbours` for one image, given its label-wise embeddings, from '
    'made memories of random vectors; time relative to the forward pass of a backbone. '
    'Processor time of one thread, in turn, which other work on the machine hardly '
    f'changes. "{DIMS} axes": embeddings projected to {DIMS} numbers. "Centres": '
    f'{PROTOTYPES[0]} of present and {PROTOTYPES[1]} of absent entries per label. '
    f'"Hard negatives": present entries and {HARD:.0%} of the absent ones. The 1,000 '
    'nearest entries vote, or all centres. Bytes are those in the checkpoint, without '
    'file names. '
    'Processes keep freed memory, as the tools do.'
)


def make_memory(
    images: int,
    labels: int,
    width: int,
    dims: int | None = DIMS,
    storage: str = 'float16',
    prototypes: bool = False,
    share: float = 1,
) -> LabelNeighbours:
    """Make a memory of random vectors, without embeddings of images.

    Args:
        images (int): Number of images N.
        labels (int): Number of labels L.
        width (int): Width of the embeddings.
        dims (int, optional): Numbers per image and label that embeddings are projected
            to. None stores embeddings as they are. Defaults to 32.
        storage (str): Type of a stored number. Defaults to ``'float16'``.
        prototypes (bool): Whether to store centres only, which stand for all images.
            Defaults to False.
        share (float): Share of the entries that are stored. Defaults to 1.

    Returns:
        LabelNeighbours: As a checkpoint gives it.
    """
    generator = torch.Generator().manual_seed(0)
    memory = LabelNeighbours(dims=dims, storage=storage, prototypes=None)
    entries = sum(PROTOTYPES) if prototypes else round(share * images)
    stored = dims or width
    keys = torch.empty(labels, entries, stored, dtype=memory.keys.dtype)
    for label in range(labels):
        vectors = torch.randn(entries, stored, generator=generator)
        keys[label] = quantise_keys(unit_vectors(vectors), keys.dtype)
    targets = torch.rand(labels, entries, generator=generator) < PRESENT
    targets[:, : max(1, PROTOTYPES[0] if prototypes else 0)] = True
    targets[:, -1] = False
    names = '["' + '", "'.join(f'train/{n:012}.jpg' for n in range(images)) + '"]'
    memory.keys = keys
    memory.targets = targets.to(torch.int8)
    memory.images = torch.arange(entries, dtype=torch.int32)[None]
    if entries < images:
        # Labels have entries of different images.
        memory.images = memory.images.expand(labels, -1).contiguous()
    if prototypes:
        memory.counts = torch.full_like(memory.images, max(1, images // entries))
    if dims is not None:
        axes = unit_vectors(torch.randn(labels, dims, width, generator=generator))
        memory.axes = quantise_keys(axes)
    memory.names = torch.frombuffer(bytearray(names.encode()), dtype=torch.uint8)
    return memory


def count_bytes(
    images: int,
    labels: int,
    width: int,
    dims: int | None = DIMS,
    storage: str = 'float16',
    prototypes: bool = False,
    share: float = 1,
) -> int:
    """Count the bytes of a memory without making it; arguments of :func:`make_memory`.

    The file names are left out.
    """
    entries = sum(PROTOTYPES) if prototypes else round(share * images)
    size = {'float16': 2, 'int8': 1}[storage]
    total = labels * entries * ((dims or width) * size + 1)
    total += 4 * entries * (labels if entries < images else 1)
    if prototypes:
        total += 4 * labels * entries
    if dims is not None:
        total += 2 * labels * dims * width
    return total


def make_backbone(name: str) -> nn.Module:
    """Make a backbone with random weights; ``'tiny'`` shows that it runs."""
    if name == 'EfficientNet-Lite0':
        cfg = dict(type='TIMMBackbone', model_name='tf_efficientnet_lite0')
    elif name == 'ResNet-101':
        cfg = dict(type='ResNet', depth=101)
    else:
        cfg = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
    model = MODELS.build(cfg)
    # Its train() returns nothing.
    model.eval()
    return model.to(memory_format=torch.channels_last)


def make(backbone: tuple[str, int] | None = None, **memory) -> Call:
    """Make the call of the votes or of the backbone's forward pass, for one image.

    Args:
        backbone (tuple[str, int], optional): A backbone and the side of its images.
            None measures a memory. Defaults to None.
        **memory: Arguments of :func:`make_memory`.

    Returns:
        Callable: Returns ``value``.
    """
    quiet()
    keep_memory()
    init_default_scope('mmpretrain')
    generator = torch.Generator().manual_seed(1)
    if backbone is not None:
        name, side = backbone
        forward = make_backbone(name)
        inputs = torch.randn(1, 3, side, side, generator=generator)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    else:
        forward = make_memory(**memory)
        inputs = torch.randn(1, memory['labels'], memory['width'], generator=generator)

    def call() -> dict:
        with torch.no_grad():
            result = forward(inputs)
        # The votes for and against, or the last feature map.
        return dict(value=list(result))

    return call


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(
        __doc__,
        args,
        turns=dict(
            type=number(int, least=1), default=15, help='turns of a case (default: 15)'
        ),
    )
    # Processor time is that of all threads.
    torch.set_num_threads(1)
    environment = describe_environment()
    comparisons, tables = [], []
    for data, (sizes, backbone) in SETTINGS.items():
        if args.quick:
            sizes, backbone = TINY, ('tiny', 32)
        counted = {name: count_bytes(**sizes, **form) for name, form in FORMS.items()}
        result = measure(
            f'{data}: {sizes["images"]:,} images, L = {sizes["labels"]}, width '
            f'{sizes["width"]}',
            make,
            {f'{backbone[0]}, {backbone[1]} px': dict(backbone=backbone)}
            | {
                name: sizes | form
                for name, form in FORMS.items()
                if counted[name] <= LARGEST
            },
            2 if args.quick else args.turns,
            clock=time.process_time,
        )
        comparisons.append(result)
        rows = []
        for name, size in counted.items():
            row = {'': name, 'bytes': format_bytes(size)}
            rival = result['rivals'].get(name)
            if rival:
                row['per image'] = format_seconds(median(rival['seconds']))
                row['of the backbone'] = f'{100 * rival["ratio"]["median"]:.2g} %'
            rows.append(row)
        title = f'Memory and time, {data}, {backbone[0]} at {backbone[1]} px'
        tables.append(dict(title=title, rows=rows))
    write(
        args,
        'neighbours',
        'Neighbours',
        DESCRIPTION,
        environment,
        comparisons,
        tables=tables,
    )


if __name__ == '__main__':
    main()
