# SPDX-License-Identifier: Apache-2.0
"""The calls that compare_commits.py times, and the process that runs them.

The process imports ``mlcl_plugin`` of any commit, by ``PYTHONPATH``. Cases therefore
use only names that users know: registered names, config fields, documented functions.
Reads one JSON object per line, ``{"case": ..., "calls": ...}``, and answers with one
line: ``{"seconds": ...}``, the time of the fastest call, or for ``"calls": 0``
``{"value": ..., "digest": ...}``.
"""

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Case(NamedTuple):
    """A call to time.

    Attributes:
        call (Callable): Does the work and returns tensors.
        prepare (Callable): Makes the argument of a call, which is not timed. Defaults
            to nothing.
    """

    call: Callable[[Any], list[Tensor]]
    prepare: Callable[[], Any] = lambda: None


def contrastive_loss(embeddings: int, labels: int) -> Case:
    """Forward and backward of the contrastive loss."""
    from mlcl_plugin.models.losses import label_wise_contrastive_loss

    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(embeddings, 128, generator=generator).requires_grad_()
    targets = torch.randint(labels, (embeddings,), generator=generator)

    def call(_) -> list[Tensor]:
        loss = label_wise_contrastive_loss(F.normalize(vectors), targets, 0.2)
        return [loss, *torch.autograd.grad(loss, vectors)]

    return Case(call)


def _samples(images: int, labels: int) -> list:
    """Make data samples with about three labels, targets as indices and as vectors."""
    from mmpretrain.structures import DataSample

    generator = torch.Generator().manual_seed(0)
    present = torch.rand(images, labels, generator=generator) < 3 / labels
    # No image without a label.
    present[torch.arange(images), torch.arange(images) % labels] = True
    noise = torch.randn(images, labels, generator=generator)
    scores = (noise + 4 * present - 2).sigmoid()
    return [
        DataSample().set_pred_score(score).set_gt_label(row.nonzero().flatten())
        for score, row in zip(scores, present)
    ]


def _vectors(samples: list) -> list[dict]:
    return [
        dict(
            pred_score=sample.pred_score,
            gt_score=F.one_hot(sample.gt_label, len(sample.pred_score)).sum(0).float(),
        )
        for sample in samples
    ]


def _indices(samples: list) -> list[dict]:
    return [
        dict(pred_score=sample.pred_score, gt_label=sample.gt_label)
        for sample in samples
    ]


def metric(images: int, labels: int, part: str, form: Callable = _vectors) -> Case:
    """Let the metric read batches of 64 samples, or evaluate what it has read."""
    from mlcl_plugin.evaluation import MultiLabelRecognitionMetric

    samples = form(_samples(images, labels))
    batches = [samples[first : first + 64] for first in range(0, images, 64)]

    def process(read) -> list[Tensor]:
        for batch in batches:
            read.process(None, batch)
        return [result[key] for result in read.results for key in ('scores', 'targets')]

    def evaluate(read) -> list[Tensor]:
        return [torch.tensor(list(read.evaluate(images).values()), dtype=torch.double)]

    def filled() -> MultiLabelRecognitionMetric:
        read = MultiLabelRecognitionMetric()
        process(read)
        return read

    if part == 'process':
        return Case(process, MultiLabelRecognitionMetric)
    return Case(evaluate, filled)


def labels_to_targets(images: int, labels: int) -> Case:
    """Turn lists of labels into vectors, with a label that is unknown."""
    from mlcl_plugin.datasets.transforms import LabelsToTargets

    transform = LabelsToTargets(labels)
    lists = [sample.gt_label.tolist() for sample in _samples(images, labels)]

    def prepare() -> list[dict]:
        return [dict(gt_label=x, gt_label_difficult=[x[0], 0]) for x in lists]

    def call(infos: list[dict]) -> list[Tensor]:
        return [torch.from_numpy(transform.transform(i)['gt_score']) for i in infos]

    return Case(call, prepare)


def _parts(labels: int) -> list[dict]:
    neck = dict(
        type='LabelAttentionNeck',
        num_classes=labels,
        in_channels=320,
        embed_dims=256,
        num_blocks_before=1,
        num_blocks_after=1,
    )
    head = dict(
        type='LabelWiseClsHead',
        num_classes=labels,
        in_channels=256,
        loss_contrastive=dict(type='LabelWiseContrastiveLoss', temperature=0.2),
        projector=dict(hidden_channels=256, out_channels=128),
    )
    return [neck, head]


def neck_and_head(images: int, labels: int, part: str) -> Case:
    """Forward and backward of neck, head and losses, or of the head's losses alone."""
    from mmpretrain.registry import MODELS

    torch.manual_seed(0)
    neck, head = (MODELS.build(cfg) for cfg in _parts(labels))
    neck.init_weights()
    head.init_weights()
    maps = torch.randn(images, 320, 7, 7).relu().requires_grad_()
    inputs, samples = (maps,), _samples(images, labels)
    weights = [maps, *neck.parameters(), *head.parameters()]
    if part == 'head':
        inputs = tuple(x.detach().requires_grad_() for x in neck(inputs))
        weights = [*inputs, *head.parameters()]

    def call(_) -> list[Tensor]:
        losses = head.loss(inputs if part == 'head' else neck(inputs), samples)
        return [*losses.values(), *torch.autograd.grad(sum(losses.values()), weights)]

    return Case(call)


def train_step(images: int, labels: int, pixels: int) -> Case:
    """Train a small network for a step: normalisation, forward, backward, optimizer."""
    from mmengine.optim import build_optim_wrapper
    from mmpretrain.registry import MODELS

    torch.manual_seed(0)
    neck, head = _parts(labels)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18),
            neck=neck | dict(in_channels=512),
            head=head,
            data_preprocessor=dict(
                type='MultiViewDataPreprocessor',
                mean=[127.0] * 3,
                std=[128.0] * 3,
                num_views=2,
            ),
        )
    )
    model.init_weights()
    model.train()
    optim_wrapper = build_optim_wrapper(
        model,
        # So small a rate that all calls do the same work.
        dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-9)),
    )
    views = [
        torch.randint(256, (images, 3, pixels, pixels), dtype=torch.uint8)
        for _ in range(2)
    ]
    samples = _samples(images, labels)

    def call(data: dict) -> list[Tensor]:
        return [model.train_step(data, optim_wrapper)['loss'].detach()]

    return Case(call, lambda: dict(inputs=views, data_samples=samples))


CASES: dict[str, Callable[[], Case]] = {
    'contrastive loss, N = 512, L = 80': lambda: contrastive_loss(512, 80),
    'contrastive loss, N = 4,096, L = 500': lambda: contrastive_loss(4096, 500),
    'metric, process 4,952 x 20, gt_score': lambda: metric(4952, 20, 'process'),
    'metric, process 4,952 x 20, gt_label': lambda: metric(
        4952, 20, 'process', _indices
    ),
    'metric, evaluate 4,952 x 20': lambda: metric(4952, 20, 'evaluate'),
    'LabelsToTargets, 1,000 images, L = 80': lambda: labels_to_targets(1000, 80),
    'head and losses, B = 8, L = 80': lambda: neck_and_head(8, 80, 'head'),
    'neck, head and losses, B = 8, L = 80': lambda: neck_and_head(8, 80, 'both'),
    'train step, ResNet-18, 2 views of 2 images, 64 px': lambda: train_step(2, 80, 64),
}
QUICK: dict[str, Callable[[], Case]] = {
    'contrastive loss, tiny': lambda: contrastive_loss(32, 4),
    'metric, process, tiny': lambda: metric(70, 5, 'process'),
    'metric, evaluate, tiny': lambda: metric(70, 5, 'evaluate'),
    'LabelsToTargets, tiny': lambda: labels_to_targets(3, 5),
    'head and losses, tiny': lambda: neck_and_head(2, 5, 'head'),
    'train step, tiny': lambda: train_step(2, 5, 32),
}


def fastest(case: Case, calls: int) -> float:
    """Return the least processor time of some calls.

    With one thread this is the time on a free core, also if the core is shared.
    """
    times = []
    for _ in range(calls):
        argument = case.prepare()
        start = time.process_time()
        case.call(argument)
        times.append(time.process_time() - start)
    return min(times)


def summary(case: Case) -> dict:
    """Call once; the first value, and a digest of the bits of all that is computed."""
    values = [x.detach().contiguous() for x in case.call(case.prepare())]
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.numpy().tobytes())
    return dict(value=values[0].double().flatten().tolist(), digest=digest.hexdigest())


def main() -> None:
    """Answer the questions of another process."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import mlcl_plugin

    torch.set_num_threads(1)
    built = cache(lambda name: (CASES | QUICK)[name]())
    print(json.dumps(dict(package=mlcl_plugin.__file__)), file=answers, flush=True)
    gc.disable()
    for line in sys.stdin:
        question = json.loads(line)
        case, calls = built(question['case']), question['calls']
        gc.collect(1)
        answer = dict(seconds=fastest(case, calls)) if calls else summary(case)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == '__main__':
    main()
