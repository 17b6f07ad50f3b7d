# SPDX-License-Identifier: Apache-2.0
"""Time the contrastive loss, its plain formula and pytorch-metric-learning's."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from common import DEVICE, describe_environment, parse_args, write
from measure import Call, grow, measure
from plain import mask_form_loss

from mlcl_plugin.models.losses import label_wise_contrastive_loss

try:
    from pytorch_metric_learning.losses import SupConLoss
except ImportError:
    SupConLoss = None

TEMPERATURE = 0.2
DIMS = 128
DESCRIPTION = (
    'Forward and backward of the contrastive loss of N embeddings of L labels '
    f'(D = {DIMS}, float32, every label at least twice). Rivals: the plain formula '
    'with masks of all pairs, and `SupConLoss` of pytorch-metric-learning.'
)


def make(rival: str, num_embeddings: int, num_labels: int, device: str = 'cpu') -> Call:
    """Make the call of forward and backward of one of the losses.

    Args:
        rival (str): The loss.
        num_embeddings (int): N.
        num_labels (int): L, at most N / 2.
        device (str): Where it computes. Defaults to ``'cpu'``.

    Returns:
        Callable: Returns ``value`` and ``gradient``.
    """
    generator = torch.Generator().manual_seed(0)
    # The leaf comes before normalisation: some losses normalise again, so that
    # gradients agree only along the sphere.
    vectors = torch.randn(num_embeddings, DIMS, generator=generator).to(device)
    vectors.requires_grad_()
    # Anchors without a positive count in our mean, but not in every rival's.
    labels = torch.arange(num_labels).repeat(2)
    rest = num_embeddings - len(labels)
    labels = torch.cat(
        [labels, torch.randint(num_labels, (rest,), generator=generator)]
    ).to(device)
    losses = {
        'ours': lambda z: label_wise_contrastive_loss(z, labels, TEMPERATURE),
        'plain masks': lambda z: mask_form_loss(z, labels, TEMPERATURE),
    }
    if SupConLoss is not None:
        supcon = SupConLoss(TEMPERATURE)
        losses['pytorch-metric-learning'] = lambda z: supcon(z, labels)

    def call() -> dict:
        loss = losses[rival](F.normalize(vectors))
        (gradient,) = torch.autograd.grad(loss, vectors)
        return dict(value=loss, gradient=gradient)

    return call


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args, device=DEVICE)
    environment = describe_environment(args.device)
    place = dict(device=args.device)
    names = ['ours', 'plain masks']
    if SupConLoss is None:
        print('Without pytorch-metric-learning: pip install -e ".[bench]"')
    else:
        names.append('pytorch-metric-learning')
    cases = ((512, 80, 51), (2048, 80, 15), (8192, 500, 7))
    sizes, num_labels = (1024, 2048, 4096, 8192, 16384, 32768, 65536), 500
    if args.quick:
        cases, sizes, num_labels = ((32, 4, 3),), (16, 32), 4

    warm = dict(num_embeddings=32, num_labels=4)
    comparisons = [
        measure(
            f'N = {n:,}, L = {labels}',
            make,
            {
                name: dict(rival=name, num_embeddings=n, num_labels=labels) | place
                for name in names
            },
            repeats,
            tolerance=1e-4,
            warm=warm,
            **place,
        )
        for n, labels, repeats in cases
    ]
    curve = grow(
        'Contrastive loss, forward and backward',
        make,
        dict(ours=dict(rival='ours', num_labels=num_labels) | place),
        ('num_embeddings', 'N', 'embeddings N'),
        sizes,
        repeats=3,
        warm=warm,
        fixed=f'D = {DIMS}, L = {num_labels}, float32',
        **place,
    )
    write(
        args,
        'contrastive_loss',
        'Contrastive loss',
        DESCRIPTION,
        environment,
        comparisons,
        [curve],
    )


if __name__ == '__main__':
    main()
