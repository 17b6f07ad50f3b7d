# SPDX-License-Identifier: Apache-2.0
"""Time the metric, MMPretrain's and scikit-learn's."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from common import describe_environment, parse_args, quiet, write
from measure import Call, measure
from mmpretrain.evaluation import AveragePrecision, MultiLabelMetric
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from mlcl_plugin.evaluation import MultiLabelRecognitionMetric

BATCH = 64
THR, TOPK = 0.5, 3
DESCRIPTION = (
    'mAP, and precision, recall and F1 at a threshold of 0.5 and for the top 3. Ours '
    "and MMPretrain's (`AveragePrecision` and two `MultiLabelMetric`) get batches of "
    f'{BATCH} samples, then evaluate; scikit-learn gets whole arrays, class by class '
    'for AP. Samples and arrays are made before, unless a title says otherwise. The '
    'deviation is that of mAP and of precision and recall at the threshold.'
)


def batches(images: int, labels: int, indices: bool) -> Iterator[list[dict]]:
    """Make batches of samples as MMEngine's evaluator passes them to metrics.

    Args:
        images (int): Number of samples.
        labels (int): Number of labels L.
        indices (bool): Whether targets are ``gt_label``, the indices of the present
            labels, or ``gt_score``.

    Yields:
        list[dict]: Samples with about three labels, and scores that separate present
        labels from others fairly well.
    """
    generator = torch.Generator().manual_seed(0)
    for start in range(0, images, BATCH):
        size = min(BATCH, images - start)
        present = torch.rand(size, labels, generator=generator) < 3 / labels
        noise = torch.randn(size, labels, generator=generator)
        scores = (noise + 4 * present - 2).sigmoid()
        yield [
            dict(pred_score=score, gt_label=row.nonzero().flatten())
            if indices
            else dict(pred_score=score, gt_score=row.float())
            for score, row in zip(scores, present)
        ]


def make(
    rival: str, images: int, labels: int, indices: bool = True, generate: bool = False
) -> Call:
    """Make the call that evaluates a data set.

    Args:
        rival (str): The metric.
        images (int): Number of samples.
        labels (int): Number of labels L.
        indices (bool): Whether targets are given as indices. Defaults to True.
        generate (bool): Whether batches are made as they are used. Defaults to
            False.

    Returns:
        Callable: Returns ``value``: mAP, CP and CR in percent.
    """
    quiet()
    data = None if generate else list(batches(images, labels, indices))

    def feed(*metrics) -> dict[str, float]:
        for batch in data or batches(images, labels, indices):
            for metric in metrics:
                metric.process(None, batch)
        values = {}
        for metric in metrics:
            values |= metric.evaluate(images)
        return values

    def ours() -> list[float]:
        values = feed(MultiLabelRecognitionMetric(thr=THR, topk=TOPK))
        return [values[f'multi-label/{key}'] for key in ('mAP', 'CP', 'CR')]

    def mmpretrain() -> list[float]:
        values = feed(
            AveragePrecision(), MultiLabelMetric(thr=THR), MultiLabelMetric(topk=TOPK)
        )
        keys = ('mAP', 'precision', 'recall')
        return [values[f'multi-label/{key}'] for key in keys]

    def scikit_learn() -> list[float]:
        ap = [average_precision_score(t, s) for t, s in zip(targets.T, scores.T)]
        top = np.zeros_like(targets)
        highest = np.argpartition(-scores, TOPK, axis=1)[:, :TOPK]
        np.put_along_axis(top, highest, True, axis=1)
        precision, recall, _, _ = precision_recall_fscore_support(
            targets, scores >= THR, average='macro', zero_division=0
        )
        for mask, average in ((scores >= THR, 'micro'), (top, 'macro'), (top, 'micro')):
            precision_recall_fscore_support(
                targets, mask, average=average, zero_division=0
            )
        return [100 * np.mean(ap), 100 * precision, 100 * recall]

    if rival == 'scikit-learn':
        samples = [sample for batch in data for sample in batch]
        scores = torch.stack([sample['pred_score'] for sample in samples]).numpy()
        targets = np.zeros(scores.shape, dtype=bool)
        for row, sample in zip(targets, samples):
            row[sample['gt_label'] if indices else sample['gt_score'].bool()] = True
        del samples
        data = None
    work = {'ours': ours, 'MMPretrain': mmpretrain, 'scikit-learn': scikit_learn}[rival]
    return lambda: dict(value=torch.tensor(work()))


def main(args: Sequence[str] | None = None) -> None:
    args = parse_args(__doc__, args)
    environment = describe_environment()
    # COCO 2014 val, and the order of magnitude of OpenImages.
    size, large, repeats = (40137, 80), (100_000, 5000), 5
    if args.quick:
        size, large, repeats = (200, 5), (100, 10), 3
    tiny = dict(images=100, labels=5)
    comparisons = [
        measure(
            f'{size[0]:,} samples, L = {size[1]}, targets as {words}',
            make,
            {
                name: dict(rival=name, images=size[0], labels=size[1], indices=indices)
                for name in ('ours', 'MMPretrain', 'scikit-learn')
            },
            repeats,
            # MMPretrain ranks equal scores in the order of the rows.
            tolerance=1e-3,
            warm=tiny,
        )
        for words, indices in (('gt_label', True), ('gt_score', False))
    ]
    images, labels = large
    comparisons.append(
        measure(
            f'{images:,} samples, L = {labels}, time includes making them',
            make,
            {'ours': dict(rival='ours', images=images, labels=labels, generate=True)},
            repeats=1,
            warm=tiny,
            warmup=0,
        )
    )
    write(args, 'metric', 'Metric', DESCRIPTION, environment, comparisons)


if __name__ == '__main__':
    main()
