# SPDX-License-Identifier: Apache-2.0
"""Time neck and head and their plain form, by precision, blocks and labels."""

from collections.abc import Sequence

import torch
from common import DEVICE, describe_environment, parse_args, quiet, write
from measure import Call, grow, measure
from mmpretrain.structures import DataSample
from plain import LinearUnits, head_losses, neck_forward

from mlcl_plugin.models import LabelAttentionNeck, LabelWiseClsHead

RELEASED, LIGHT = (2, 1), (0, 0)
LABELS_PER_IMAGE = 3
DESCRIPTION = (
    'Forward and backward of neck, head and both losses, given the feature map of a '
    'backbone, with three labels per image. The released neck has two blocks before '
    'and one after the label attention, the light one none. The plain form has the '
    'same weights, attention that forms its matrices, a linear layer per label in a '
    'loop, and projects the embeddings of all labels.'
)


def random_labels(images: int, num_labels: int) -> list[DataSample]:
    """Make data samples of images with three random labels each."""
    generator = torch.Generator().manual_seed(0)
    return [
        DataSample().set_gt_label(
            torch.randperm(num_labels, generator=generator)[:LABELS_PER_IMAGE]
        )
        for _ in range(images)
    ]


def make(
    num_labels: int,
    batch: int,
    channels: int = 2048,
    dims: int = 1024,
    side: int = 14,
    blocks: tuple[int, int] = RELEASED,
    num_groups: int | None = None,
    plain: bool = False,
    bfloat16: bool = False,
    device: str = 'cpu',
) -> Call:
    """Make the call of forward and backward of neck and head.

    Args:
        num_labels (int): L.
        batch (int): B.
        channels (int): Channels of the feature map. Defaults to 2048.
        dims (int): Width of an embedding. Defaults to 1024.
        side (int): Height and width of the feature map. Defaults to 14.
        blocks (tuple[int, int]): Attention blocks before and after the label
            attention. Defaults to the released ones.
        num_groups (int, optional): Queries that decode all labels. None has one
            per label. Defaults to None.
        plain (bool): Whether to use the plain form. Defaults to False.
        bfloat16 (bool): Whether to run under autocast. Defaults to False.
        device (str): Where it computes. Defaults to ``'cpu'``.

    Returns:
        Callable: Returns ``value`` (the losses) and ``gradient`` (of the feature map
        and of all weights).
    """
    quiet()
    torch.manual_seed(0)
    groups = {} if num_groups is None else dict(num_groups=num_groups)
    neck = LabelAttentionNeck(
        num_labels,
        channels,
        dims,
        num_blocks_before=blocks[0],
        num_blocks_after=blocks[1],
        **groups,
    )
    head = LabelWiseClsHead(
        num_labels,
        dims,
        loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
        **groups,
    )
    neck.init_weights()
    head.init_weights()
    neck, head = neck.to(device), head.to(device)
    feats = torch.randn(batch, channels, side, side).relu().to(device).requires_grad_()
    data_samples = random_labels(batch, num_labels)
    if plain:
        units = LinearUnits(head)
        classifier = [unit.weight for unit in units] + [unit.bias for unit in units]
    else:
        classifier = [head.classifier.weight, head.classifier.bias]
    # The same order for all forms, so that gradients can be compared.
    weights = [feats, *neck.parameters(), *head.projector.parameters(), *classifier]

    def call() -> dict:
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            if plain:
                losses = head_losses(
                    head, units, neck_forward(neck, feats), data_samples
                )
            else:
                losses = head.loss(neck(feats), data_samples)
        gradient = torch.autograd.grad(sum(losses.values()), weights)
        return dict(value=list(losses.values()), gradient=gradient)

    return call


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args, device=DEVICE)
    environment = describe_environment(args.device)
    place = dict(device=args.device)
    size, labels, repeats = dict(batch=8), 80, 9
    steps, groups, many = (80, 320, 1280, 5000), 80, dict(batch=4)
    # Without groups: there may not be more of them than labels.
    tiny = dict(num_labels=4, batch=2, channels=16, dims=8, side=2, num_groups=None)
    if args.quick:
        size = many = tiny | dict(num_labels=6)
        labels, repeats, steps, groups = 6, 3, (4, 8), 2

    size, many = size | dict(num_labels=labels) | place, many | place
    forms = {
        'ours, float32': size,
        'ours, bfloat16': size | dict(bfloat16=True),
        'plain, float32': size | dict(plain=True),
        'plain, bfloat16': size | dict(plain=True, bfloat16=True),
    }
    # bfloat16 keeps 8 bits of a number.
    tolerance = {name: 0.1 if 'bfloat16' in name else 1e-4 for name in forms}
    batch = f'B = {size["batch"]}, L = {labels}'
    comparisons = [
        measure(
            f'{batch}, released neck', make, forms, repeats, tolerance, tiny, **place
        )
    ]
    comparisons.append(
        measure(
            f'{batch}, light and released neck, float32',
            make,
            {
                'light neck': size | dict(blocks=LIGHT),
                'released neck': size | dict(blocks=RELEASED),
            },
            repeats,
            warm=tiny,
            **place,
        )
    )
    rivals = {
        'released neck': many | dict(blocks=RELEASED),
        'light neck': many | dict(blocks=LIGHT),
        f'released neck, {groups} groups': many | dict(num_groups=groups),
    }
    curve = grow(
        'Neck and head, forward and backward',
        make,
        rivals,
        ('num_labels', 'L', 'labels L'),
        steps,
        repeats=3,
        warm=tiny,
        fixed=f'B = {many["batch"]}, float32',
        **place,
    )
    write(
        args,
        'label_axis',
        'Neck and head',
        DESCRIPTION,
        environment,
        comparisons,
        [curve],
    )


if __name__ == '__main__':
    main()
