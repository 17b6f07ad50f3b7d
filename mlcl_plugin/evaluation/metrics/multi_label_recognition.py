# SPDX-License-Identifier: Apache-2.0
import logging
import math
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather, all_reduce, broadcast_object_list, get_rank
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpretrain.registry import METRICS
from torch import Tensor

from ...targets import (
    check_targets,
    indices_to_targets,
    read_label_indices,
    read_label_lists,
    read_target_vector,
)
from ..class_blocks import map_class_blocks
from ..decisions import Decisions
from ..sampler_padding import num_without_padding

ArrayLike = Tensor | np.ndarray | Sequence

ABSENT_CLASSES = ('skip', 'zero')

# Entries that labels are counted in at a time: what a processor's cache holds.
CHUNK_ENTRIES = 2**18


def _as_scores(value: ArrayLike) -> Tensor:
    """Tensor of scores in single or double precision, on the CPU."""
    scores = torch.as_tensor(value).detach().cpu()
    if scores.dtype in (torch.float16, torch.bfloat16):
        return scores.float()
    return scores if scores.is_floating_point() else scores.double()


def _as_targets(value: ArrayLike, name: str = 'targets', where: str = '') -> Tensor:
    """Tensor of int8 targets on the CPU, checked to be in {1, 0, -1}."""
    targets = torch.as_tensor(value).detach().cpu()
    check_targets(targets, name=name, where=where)
    return targets.to(torch.int8)


def _check_nan(scores: Tensor, where: str = '') -> None:
    if scores.isnan().any():
        raise ValueError(
            f'{int(scores.isnan().sum())} of {scores.numel()} scores are nan{where}. '
            'The model has diverged or its input holds nan.'
        )


def _check_matrices(name: str, first: Tensor, targets: Tensor) -> None:
    if first.ndim != 2 or first.shape != targets.shape or first.shape[1] == 0:
        raise ValueError(
            f'{name} and targets must have one shape (N, K) with K > 0, got '
            f'{tuple(first.shape)} and {tuple(targets.shape)}.'
        )


def _read_options(
    thr: float | Sequence[float],
    topk: int | None,
    absent_classes: str,
    decisions: Decisions | str | None,
) -> float | Tensor | Decisions:
    """What says which labels are predicted, if all options are as they should be.

    Returns:
        float | Tensor | Decisions: One threshold, (K,) thresholds, or decisions.
    """
    rule = thr
    if isinstance(thr, np.ndarray | Tensor | Sequence) and not isinstance(thr, str):
        try:
            rule = torch.as_tensor(thr, dtype=torch.float64).detach().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f'thr must hold numbers, got {thr!r:.200}.') from error
        if rule.ndim != 1 or not rule.isfinite().all():
            raise ValueError(
                'thr must be a finite number or K of them, one a class, got '
                f'{thr!r:.200}.'
            )
    elif isinstance(thr, bool) or not isinstance(thr, Real) or not math.isfinite(thr):
        raise ValueError(f'thr must be a finite number, got {thr!r}.')
    if topk is not None and (
        isinstance(topk, bool) or not isinstance(topk, Integral) or topk < 1
    ):
        raise ValueError(
            f'topk must be an integer >= 1, or None to switch it off, got {topk!r}.'
        )
    _check_absent_classes(absent_classes)
    if decisions is None:
        return rule
    return decisions if isinstance(decisions, Decisions) else Decisions.load(decisions)


def _check_rule(
    rule: float | Tensor | Decisions,
    scores: Tensor,
    class_names: Sequence[str] | None,
) -> None:
    """Raise if thresholds or decisions are not for these scores (N, K)."""
    if isinstance(rule, Decisions):
        if class_names is not None:
            rule.check(class_names)
        rule.predict(scores)
    elif isinstance(rule, Tensor) and len(rule) != scores.shape[1]:
        raise ValueError(
            f'thr has {len(rule)} thresholds, expected one for each of the '
            f'{scores.shape[1]} classes.'
        )


def _check_absent_classes(absent_classes: str) -> None:
    if absent_classes not in ABSENT_CLASSES:
        raise ValueError(
            f'absent_classes must be one of {ABSENT_CLASSES}, got {absent_classes!r}.'
        )


def average_precision(scores: ArrayLike, targets: ArrayLike) -> Tensor:
    r"""Non-interpolated average precision of every class.

    With the entries of a class ranked by falling score,

    .. math::
        \text{AP} = \frac{1}{n_\text{pos}} \sum_{i\,\text{positive}}
            \frac{\text{positives among the first } r_i}{r_i}

    where :math:`r_i` is the rank of entry :math:`i`. Entries with equal scores
    share the last rank of their group: they enter together, as in scikit-learn's
    ``average_precision_score``, so that the order of the rows never matters.

    Args:
        scores (Tensor | np.ndarray | Sequence): Scores, shape (N, K). Any
            increasing function of them, such as logits, gives the same result as
            long as it creates no new ties.
        targets (Tensor | np.ndarray | Sequence): 1 present, 0 absent, -1 unknown,
            shape (N, K). Unknown entries are removed.

    Returns:
        Tensor: Average precision as fractions in [0, 1], shape (K,), float64, on
        the CPU. ``nan`` for a class without a positive.

    Raises:
        ValueError: If the shapes differ or are not (N, K), if a score is nan, or if
            a target is outside {1, 0, -1}.
    """
    scores, targets = _as_scores(scores), _as_targets(targets)
    _check_matrices('scores', scores, targets)
    _check_nan(scores)
    return map_class_blocks(
        _block_average_precision, [[scores], [targets]], [len(scores)]
    )


def _block_average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """Average precision of checked scores and targets (N, B), (B,) float64.

    At a positive with score s, precision is the number of positives over the number
    of known entries, both with scores >= s. Places in sorted scores give these
    numbers, where equal scores share the place of the first of them.
    """
    # One class a row, as sorting along the contiguous dimension is faster.
    ranked, targets = scores.t().contiguous(), targets.t().contiguous()
    unknown, positive = targets == -1, targets == 1
    num_known = targets.shape[1] - unknown.sum(1)
    num_positive = positive.sum(1)

    # The scores of the positives, in the first slots of each row. NumPy sorts values
    # without keeping their order, which torch does not offer and takes long.
    slots = torch.arange(int(num_positive.max())) < num_positive[:, None]
    hits = ranked.new_full(slots.shape, math.inf)
    hits.masked_scatter_(slots, ranked[positive])
    hits.numpy().sort(axis=1)
    # Unknown entries go below all others.
    ranked.masked_fill_(unknown, -math.inf)
    ranked.numpy().sort(axis=1)

    below = torch.searchsorted(ranked, hits)[slots]
    classes = torch.arange(len(slots)).repeat_interleave(num_positive)
    # The minimum matters for a score of -inf, which has unknown entries as equals.
    seen = torch.minimum(ranked.shape[1] - below, num_known[classes])

    # Now all positives in one row, class after class.
    hits = hits[slots]
    first = torch.ones_like(hits, dtype=torch.bool)
    first[1:] = (hits[1:] != hits[:-1]) | (classes[1:] != classes[:-1])
    place = (torch.arange(len(hits)) * first).cummax(0).values
    found = num_positive.cumsum(0)[classes] - place

    # Added one after the other, so that the sum does not depend on the block.
    total = torch.zeros(len(slots), dtype=torch.float64)
    total.index_add_(0, classes, found.double() / seen)
    # 0 / 0 makes the nan of a class without a positive.
    return total / num_positive


def precision_recall_f1(
    pred_mask: ArrayLike, targets: ArrayLike, absent_classes: str = 'skip'
) -> dict[str, float]:
    r"""Per-class (C) and overall (O) precision, recall and F1.

    With :math:`N^c_k` correct, :math:`N^p_k` predicted and :math:`N^g_k` true
    labels of class :math:`k`,

    .. math::
        \text{OP} &= \frac{\sum_k N^c_k}{\sum_k N^p_k},&
        \text{OR} &= \frac{\sum_k N^c_k}{\sum_k N^g_k},&
        \text{OF1} &= \frac{2\,\text{OP}\,\text{OR}}{\text{OP} + \text{OR}} \\
        \text{CP} &= \frac{1}{K} \sum_k \frac{N^c_k}{N^p_k},&
        \text{CR} &= \frac{1}{K} \sum_k \frac{N^c_k}{N^g_k},&
        \text{CF1} &= \frac{2\,\text{CP}\,\text{CR}}{\text{CP} + \text{CR}}

    CF1 is the harmonic mean of the two averages, not the average of the per-class
    F1. A quotient with denominator 0 is 0, never nan.

    Args:
        pred_mask (Tensor | np.ndarray | Sequence): True where a label is
            predicted, bool, shape (N, K).
        targets (Tensor | np.ndarray | Sequence): 1 present, 0 absent, -1 unknown,
            shape (N, K). Unknown entries count neither as prediction nor as truth.
        absent_classes (str): What to do with a class without a positive target.
            ``'skip'`` leaves it out of CP and CR, ``'zero'`` counts it there as 0.
            Its predictions are false positives of OP either way. Defaults to
            ``'skip'``.

    Returns:
        Dict[str, float]: ``CP``, ``CR``, ``CF1``, ``OP``, ``OR`` and ``OF1`` as
        fractions in [0, 1].

    Raises:
        ValueError: If the shapes differ or are not (N, K), if ``pred_mask`` is not
            boolean, if a target is outside {1, 0, -1}, or if ``absent_classes`` is
            unknown.
    """
    _check_absent_classes(absent_classes)
    pred_mask = torch.as_tensor(pred_mask).detach().cpu()
    targets = _as_targets(targets)
    _check_matrices('pred_mask', pred_mask, targets)
    if pred_mask.dtype != torch.bool:
        raise ValueError(
            f'pred_mask must be boolean, got {pred_mask.dtype}. Compare scores with '
            'a threshold first.'
        )

    truth = targets == 1
    return _ratios(
        truth.sum(0),
        (pred_mask & (targets != -1)).sum(0),
        (pred_mask & truth).sum(0),
        absent_classes,
    )


def _ratios(
    num_true: Tensor, num_predicted: Tensor, num_correct: Tensor, absent_classes: str
) -> dict[str, float]:
    """The figures of :func:`precision_recall_f1` from counts (K,) of each class."""
    num_true, num_predicted, num_correct = (
        count.double() for count in (num_true, num_predicted, num_correct)
    )
    # A count of 0 below the line has 0 above it too, hence clamping to 1 gives 0.
    precision = num_correct / num_predicted.clamp(min=1)
    recall = num_correct / num_true.clamp(min=1)
    if absent_classes == 'skip':
        precision, recall = precision[num_true > 0], recall[num_true > 0]
    num_averaged = max(len(precision), 1)

    result = {}
    for kind, p, r in (
        ('C', precision.sum() / num_averaged, recall.sum() / num_averaged),
        (
            'O',
            num_correct.sum() / num_predicted.sum().clamp(min=1),
            num_correct.sum() / num_true.sum().clamp(min=1),
        ),
    ):
        p, r = p.item(), r.item()
        result[f'{kind}P'] = p
        result[f'{kind}R'] = r
        result[f'{kind}F1'] = 2 * p * r / (p + r) if p + r > 0 else 0.0
    return result


def _count_labels(
    scores: Tensor,
    targets: Tensor,
    rule: float | Tensor | Decisions,
    topk: int | None,
) -> Tensor:
    """Counts of each class over some rows (n, K).

    Returns:
        Tensor: (3, K) or, with ``topk``, (5, K) int64: true, predicted and correct
        labels, then predicted and correct labels of the top k.
    """
    truth, known = targets == 1, targets != -1
    if isinstance(rule, Decisions):
        predicted = rule.predict(scores)
    else:
        # In the precision of the scores, as a Python number is compared, so that a
        # score of 0.7 in float32 passes a threshold of 0.7.
        thr = rule.to(scores.dtype) if isinstance(rule, Tensor) else float(rule)
        predicted = scores >= thr
    counts = [truth, predicted & known, predicted & truth]
    if topk is not None:
        # Up to `topk` predicted labels are all taken.
        crowded = (predicted.sum(1) > topk).nonzero()[:, 0]
        top = predicted.clone()
        ranked = scores[crowded]
        if isinstance(rule, Decisions):
            ranked = rule.calibrate(ranked)
        # With a threshold of its own, a label that is not predicted may have a higher
        # score than one that is.
        ranked = ranked.masked_fill(~predicted[crowded], -math.inf)
        top[crowded] &= _topk_mask(ranked, topk)
        counts += [top & known, top & truth]
    return torch.stack([mask.sum(0) for mask in counts])


def _topk_mask(scores: Tensor, topk: int) -> Tensor:
    """True at the ``topk`` highest scores of each row, shape (n, K).

    Of equal scores the lower class index comes first.
    """
    num_classes = scores.shape[1]
    if topk >= num_classes:
        return torch.ones_like(scores, dtype=torch.bool)
    place = num_classes - topk
    lowest = np.partition(scores.numpy(), place, axis=1)[:, place : place + 1]
    mask = scores >= torch.from_numpy(lowest)
    tied = (mask.sum(1) > topk).nonzero()[:, 0]
    if len(tied) > 0:
        # A stable sort keeps the order of equal scores.
        order = scores[tied].sort(dim=1, descending=True, stable=True).indices
        mask[tied] = torch.zeros_like(mask[tied]).scatter_(1, order[:, :topk], True)
    return mask


def _chunks(pieces: Sequence[Tensor], num_rows: int) -> Iterator[Tensor]:
    """The same rows in pieces of about ``num_rows``, each a passing copy."""
    waiting, num_waiting = [], 0
    for piece in pieces:
        for part in piece.split(num_rows):
            if num_waiting + len(part) > num_rows:
                yield torch.cat(waiting)
                waiting, num_waiting = [], 0
            waiting.append(part)
            num_waiting += len(part)
    yield torch.cat(waiting)


def _figures(
    scores: Sequence[Tensor],
    targets: Sequence[Tensor],
    num_rows: Sequence[int],
    rule: float | Tensor | Decisions,
    topk: int | None,
    absent_classes: str,
    class_names: Sequence[str] | None,
) -> dict[str, float]:
    """All figures from checked pieces (n, K), at least one, of each process.

    Args are those of :meth:`MultiLabelRecognitionMetric.calculate`,
    :func:`map_class_blocks` and, as ``rule``, what :func:`_read_options` gives.
    """
    num_classes = scores[0].shape[1]
    if class_names is not None:
        _check_class_names(class_names, num_classes)
    chunk_rows = max(CHUNK_ENTRIES // num_classes, 1)
    counts = sum(
        _count_labels(*chunk, rule, topk)
        for chunk in zip(_chunks(scores, chunk_rows), _chunks(targets, chunk_rows))
    )
    if len(num_rows) > 1:
        all_reduce(counts)
    ap = map_class_blocks(_block_average_precision, (scores, targets), num_rows) * 100

    present = ~ap.isnan()
    if not present.any():
        print_log(
            f'None of the {sum(num_rows)} samples has a positive target in any of '
            f'the {num_classes} classes: mAP is undefined (nan), recall is 0.',
            logger='current',
            level=logging.WARNING,
        )
        evaluated = present
    elif absent_classes == 'zero':
        ap = ap.nan_to_num(nan=0.0)
        evaluated = torch.ones_like(present)
    else:
        evaluated = present

    metrics = {
        'mAP': ap[evaluated].mean().item(),
        'num_classes_evaluated': int(evaluated.sum()),
    }
    num_true, *num_labels = counts
    names = [''] if topk is None else ['', f'top{topk}_']
    for name, num_predicted, num_correct in zip(
        names, num_labels[::2], num_labels[1::2]
    ):
        ratios = _ratios(num_true, num_predicted, num_correct, absent_classes)
        metrics.update({f'{name}{key}': value * 100 for key, value in ratios.items()})

    if class_names is not None:
        for index in evaluated.nonzero().flatten().tolist():
            metrics[f'AP/{class_names[index]}'] = ap[index].item()
    return metrics


@METRICS.register_module()
class MultiLabelRecognitionMetric(BaseMetric):
    """mAP and per-class / overall precision, recall and F1 for multi-label tasks.

    The figures of the multi-label recognition literature, in percent:

    - ``mAP``: mean of the non-interpolated :func:`average_precision`.
    - ``CP``, ``CR``, ``CF1``, ``OP``, ``OR``, ``OF1``: see
      :func:`precision_recall_f1`, with the labels whose score is >= ``thr``.
    - ``top3_CP`` ... ``top3_OF1`` (named after ``topk``): the same with at most
      ``topk`` labels an image, namely those of its ``topk`` highest scores that
      are also >= ``thr``. Which labels an image gets depends on its scores alone:
      an unknown entry among the highest keeps its place, and is then not counted.
      Where labels have thresholds of their own, the ``topk`` highest scores are
      those of the predicted labels, and ``decisions`` rank calibrated scores.
    - ``num_classes_evaluated``: how many classes entered mAP (a count).
    - ``AP/<class name>`` of every evaluated class, if ``classwise`` is set.

    The protocol is that of ML-GCN (Chen et al., CVPR 2019, arXiv 1904.03582) and
    MulCon (Dao et al., arXiv 2107.11626). **Deviations** from their meter:

    - The meter replaces the number of predictions of a class without any by 1 and
      so adds 1 to the denominator of OP for each such class. This is not copied:
      OP is the number of correct over the number of predicted labels.
    - A class without a positive is left out of mAP, CP and CR by default. In the
      meter it makes CR and CF1 nan and has AP 0 (MulCon) or stops with a division
      by zero (ML-GCN). ``absent_classes='zero'`` keeps it as 0 in all three.
    - Nothing predicted gives 0, where the meter has nan for F1. If the whole set
      has no positive, mAP is nan and a warning is logged; the other figures are 0.
    - Equal scores are ranked together in AP, and cut by the lower class index in
      top-k. The meter leaves both to an unstable sort.
    - AP is divided by the number of positives; MulCon adds 1e-6 to it.
    - Targets are 1 present, 0 absent, -1 unknown, and unknown entries count
      nowhere. ML-GCN codes absent as -1 and VOC's "difficult" as 0, skips
      difficult entries in AP and counts them as absent in all other figures.
    - Scores are compared in float32 and averaged in float64, whereas MulCon takes
      the sigmoid in half precision, which makes ties. Scores that come in half
      precision are converted, but ties that are in them already stay.
    - ``thr`` may be any number, and all figures are in percent.

    MMPretrain's ``AveragePrecision`` also logs ``multi-label/mAP``: to run both in
    one evaluator, give one of them another ``prefix``.

    Args:
        thr (float | Sequence[float]): A label is predicted if its score is >=
            ``thr``, in the scale of ``pred_score`` (probabilities for MMPretrain's
            heads). K numbers are thresholds of each class. Defaults to 0.5.
        topk (int, optional): Largest number of labels an image in the top-k
            figures; with ``topk`` >= K they equal those without. None switches
            them off. Defaults to 3.
        absent_classes (str): ``'skip'`` leaves classes without a positive target
            out of mAP, CP and CR, ``'zero'`` counts them as 0. Defaults to
            ``'skip'``.
        classwise (bool): Whether to return the AP of each evaluated class as a
            scalar of its own, named after ``dataset_meta['classes']`` or, without
            it, after the class index. Defaults to False.
        collect_device (str): Without effect, as is ``collect_dir``: what processes
            exchange goes through their process group. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names of the figures. Defaults to
            None, which means ``default_prefix``.
        collect_dir (str, optional): Without effect. Defaults to None.
        decisions (Decisions | str, optional): Temperatures and thresholds of each
            label, or the path of a file with them, which take the place of ``thr``.
            AP is that of the scores as they are. Defaults to None.

    Raises:
        ValueError: If an argument is not as above.
        FileNotFoundError: If there is no file ``decisions``.

    Examples:
        >>> import torch
        >>> from mmengine.evaluator import Evaluator
        >>> from mmpretrain.structures import DataSample
        >>> from mlcl_plugin.evaluation import MultiLabelRecognitionMetric
        >>> scores = torch.tensor([[.9, .2, .6], [.8, .7, .1]])
        >>> targets = torch.tensor([[1, 0, 0], [1, 1, -1]])
        >>> MultiLabelRecognitionMetric.calculate(scores, targets, topk=None)
        {'mAP': 100.0, 'num_classes_evaluated': 2, 'CP': 100.0, 'CR': 100.0, \
'CF1': 100.0, 'OP': 75.0, 'OR': 100.0, 'OF1': 85.71428571428571}
        >>> evaluator = Evaluator(MultiLabelRecognitionMetric(topk=1))
        >>> evaluator.process([
        ...     DataSample().set_pred_score(s).set_gt_score(t)
        ...     for s, t in zip(scores, targets)])
        >>> evaluator.evaluate(2)['multi-label/top1_OP']
        100.0
    """

    default_prefix: str | None = 'multi-label'

    def __init__(
        self,
        thr: float | Sequence[float] = 0.5,
        topk: int | None = 3,
        absent_classes: str = 'skip',
        classwise: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        decisions: Decisions | str | None = None,
    ) -> None:
        self.rule = _read_options(thr, topk, absent_classes, decisions)
        if classwise not in (True, False):
            raise ValueError(f'classwise must be True or False, got {classwise!r}.')
        super().__init__(
            collect_device=collect_device, prefix=prefix, collect_dir=collect_dir
        )
        self.thr = thr
        self.topk = topk
        self.absent_classes = absent_classes
        self.classwise = classwise

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Check and store the scores and targets of one batch.

        One item is appended to ``self.results``: a dict with ``scores`` (B, K)
        float32 and ``targets`` (B, K) int8, copies on the CPU. These 5 bytes an
        entry are what a round of evaluation takes in memory; computing the figures
        adds a constant.

        Args:
            data_batch (Any): A batch of data from the dataloader, unused.
            data_samples (Sequence[dict]): Outputs of the model, each (a dict or a
                DataSample) with ``pred_score`` (K,) and either ``gt_score`` (K,) in
                {1, 0, -1} or ``gt_label``, the indices of the present labels
                (possibly none). ``gt_score`` wins if there are both.

        Raises:
            ValueError: If a field is missing, a score is nan, the width of the
                scores differs from the targets, from ``dataset_meta['classes']`` or
                from earlier samples, a target is outside {1, 0, -1}, ``gt_label``
                is not a list of different indices in [0, K), or thresholds or
                decisions are for other classes. Names the image where a sample is at
                fault and has an ``img_path``.
        """
        if len(data_samples) == 0:
            return
        batch = self._read_batch(data_samples)
        if batch is None:
            batch = self._read_samples(data_samples)
        scores, targets = batch
        if not self.results:
            # Now rather than after a whole round of evaluation.
            _check_rule(self.rule, scores, (self.dataset_meta or {}).get('classes'))
            if self.classwise:
                num_classes = scores.shape[1]
                _check_class_names(self._class_names(num_classes), num_classes)
        self.results.append({'scores': scores, 'targets': targets})

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute all figures from the samples of all processes.

        Every process must call it, also one without samples. Each drops its own
        padding first, see :func:`num_without_padding` for what samplers that
        supports. Then counts are added up and scores are exchanged a few classes at
        a time, through the process group on whatever device its backend works
        with: nothing is pickled or written, so ``collect_device`` and
        ``collect_dir`` make no difference.

        Args:
            size (int): Number of samples of the dataset.

        Returns:
            Dict[str, float]: The figures named in the class docstring, with the
            prefix, the same on all processes. ``self.results`` is empty afterwards.

        Raises:
            ValueError: On all processes, if there is no sample, if the processes
                have scores of different widths, or if padding cannot be told from
                samples.
        """
        if len(self.results) == 0:
            print_log(
                f'{type(self).__name__} got no sample on this process. Check that '
                '`process` was called and that the dataset is not too small.',
                logger='current',
                level=logging.WARNING,
            )
        num_held = torch.tensor([_num_samples(self.results)])
        num_held = torch.cat(all_gather(num_held)).tolist()
        if sum(num_held) < size:
            print_log(
                f'{type(self).__name__} got {sum(num_held)} samples of a dataset of '
                f'{size}: the figures leave out the others.',
                logger='current',
                level=logging.WARNING,
            )
        num_kept = num_without_padding(num_held, size)[get_rank()]
        metrics = self.compute_metrics(_first_samples(self.results, num_kept))
        if self.prefix:
            metrics = {f'{self.prefix}/{key}': value for key, value in metrics.items()}
        # All have computed the same, and the first has the last word.
        shared = [metrics]
        broadcast_object_list(shared)
        self.results.clear()
        return shared[0]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute all figures from the samples of all processes.

        Args:
            results (List[dict]): One item per batch of this process, as stored by
                :meth:`process`, without padding. Every process must call it.

        Returns:
            Dict[str, float]: The figures named in the class docstring, without
            the prefix.

        Raises:
            ValueError: On all processes, if there is no sample or if the processes
                have scores of different widths.
        """
        num_classes = results[0]['scores'].shape[1] if results else 0
        shapes = torch.tensor([[_num_samples(results), num_classes]])
        shapes = torch.cat(all_gather(shapes))
        num_rows = shapes[:, 0].tolist()
        if sum(num_rows) == 0:
            raise ValueError(
                f'{type(self).__name__} got no sample to evaluate. Check that the '
                'dataset is not empty and that `process` was called.'
            )
        widths = shapes[shapes[:, 0] > 0, 1].unique().tolist()
        if len(widths) > 1:
            raise ValueError(
                f'pred_score has {widths} entries on different processes. Build the '
                'same model on all of them.'
            )
        num_classes = widths[0]
        # A process without samples takes part with matrices without rows.
        scores = [result['scores'] for result in results]
        targets = [result['targets'] for result in results]
        return _figures(
            scores or [torch.empty(0, num_classes)],
            targets or [torch.empty(0, num_classes, dtype=torch.int8)],
            num_rows,
            rule=self.rule,
            topk=self.topk,
            absent_classes=self.absent_classes,
            class_names=self._class_names(num_classes) if self.classwise else None,
        )

    @staticmethod
    def calculate(
        scores: ArrayLike,
        targets: ArrayLike,
        thr: float | Sequence[float] = 0.5,
        topk: int | None = 3,
        absent_classes: str = 'skip',
        class_names: Sequence[str] | None = None,
        decisions: Decisions | str | None = None,
    ) -> dict[str, float]:
        """Compute all figures from whole arrays.

        Args:
            scores (Tensor | np.ndarray | Sequence): Scores, shape (N, K).
            targets (Tensor | np.ndarray | Sequence): 1 present, 0 absent, -1
                unknown, shape (N, K).
            thr (float | Sequence[float]): A label is predicted if its score is >=
                ``thr``, one number or one a class. Defaults to 0.5.
            topk (int, optional): Largest number of labels an image in the top-k
                figures, None for leaving them out. Defaults to 3.
            absent_classes (str): ``'skip'`` or ``'zero'``, see the class. Defaults
                to ``'skip'``.
            class_names (Sequence[str], optional): K different names, to add
                ``AP/<class name>`` of each evaluated class. Defaults to None.
            decisions (Decisions | str, optional): See the class. Defaults to None.

        Returns:
            Dict[str, float]: The figures named in the class docstring, without a
            prefix; all are percentages but ``num_classes_evaluated``.

        Raises:
            ValueError: If an argument is not as above, or if a score is nan.
        """
        rule = _read_options(thr, topk, absent_classes, decisions)
        scores, targets = _as_scores(scores), _as_targets(targets)
        _check_matrices('scores', scores, targets)
        _check_nan(scores)
        _check_rule(rule, scores[:1], class_names)
        return _figures(
            [scores],
            [targets],
            [len(scores)],
            rule=rule,
            topk=topk,
            absent_classes=absent_classes,
            class_names=class_names,
        )

    def _read_batch(self, data_samples: Sequence[dict]) -> tuple[Tensor, Tensor] | None:
        """Scores and targets (B, K) of a batch, checked as a whole.

        Returns:
            Optional[Tuple[Tensor, Tensor]]: None if something is at fault or merely
            unusual, such as a list in place of a tensor: :meth:`_read_samples` can
            tell.
        """
        given = [sample.get('gt_score') for sample in data_samples]
        from_labels = all(value is None for value in given)
        if from_labels:
            given = [sample.get('gt_label') for sample in data_samples]
        try:
            scores = torch.stack([sample.get('pred_score') for sample in data_samples])
            raw = None if from_labels else torch.stack(given)
        except (TypeError, RuntimeError):
            # A field is missing, is no tensor, or has another shape or device.
            return None
        if scores.ndim != 2 or not scores.is_floating_point() or not scores.numel():
            return None
        # Stacking has copied already.
        scores = scores.detach().cpu().float()
        if scores.isnan().any():
            return None
        earlier = self.results[0]['scores'].shape[1] if self.results else None
        self._check_width(scores.shape[1], _where(data_samples[0], 0), earlier)

        if from_labels:
            targets = read_label_lists(given, scores.shape[1])
            return None if targets is None else (scores, targets)
        raw = raw.detach().cpu()
        targets = raw.to(torch.int8)
        if raw.shape != scores.shape or not (targets.clamp(-1, 1) == raw).all():
            return None
        return scores, targets

    def _read_samples(self, data_samples: Sequence[dict]) -> tuple[Tensor, Tensor]:
        """Scores and targets (B, K) of a batch, checked one by one.

        Raises:
            ValueError: If a sample is at fault, with the image where it has one.
        """
        earlier = self.results[0]['scores'].shape[1] if self.results else None
        batch = []
        for index, data_sample in enumerate(data_samples):
            scores, targets = self._read_sample(
                data_sample, _where(data_sample, index), earlier
            )
            earlier = len(scores)
            batch.append((scores.float(), targets))
        scores, targets = zip(*batch)
        return torch.stack(scores), torch.stack(targets)

    def _read_sample(
        self, data_sample: dict, where: str, earlier: int | None
    ) -> tuple[Tensor, Tensor]:
        """Checked scores (K,) and int8 targets (K,) of one sample."""
        if data_sample.get('pred_score') is None:
            raise ValueError(
                f'There is no pred_score{where}. The head must set it in `predict`.'
            )
        scores = _as_scores(data_sample.get('pred_score'))
        if scores.ndim != 1 or len(scores) == 0:
            raise ValueError(
                f'pred_score must have shape (K,), got {tuple(scores.shape)}{where}.'
            )
        _check_nan(scores, where)
        num_classes = len(scores)
        self._check_width(num_classes, where, earlier)

        if data_sample.get('gt_score') is not None:
            targets = read_target_vector(
                torch.as_tensor(data_sample.get('gt_score')).cpu(),
                num_classes,
                where=where,
            ).to(torch.int8)
        elif data_sample.get('gt_label') is not None:
            present = read_label_indices(
                data_sample.get('gt_label'), num_classes, where=where
            )
            targets = indices_to_targets(present.cpu(), num_classes).to(torch.int8)
        else:
            raise ValueError(
                f'There is neither gt_score nor gt_label{where}. Let the pipeline '
                'pack one of them.'
            )
        return scores, targets

    def _check_width(self, num_classes: int, where: str, earlier: int | None) -> None:
        """Raise if the width is not that of the dataset and of earlier samples."""
        classes = (self.dataset_meta or {}).get('classes')
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                f'The dataset has {len(classes)} classes but pred_score has '
                f'{num_classes} entries{where}. Set num_classes of the head to '
                f'{len(classes)}.'
            )
        if earlier is not None and earlier != num_classes:
            raise ValueError(
                f'pred_score has {num_classes} entries{where}, but {earlier} in the '
                'samples before it.'
            )

    def _class_names(self, num_classes: int) -> list[str]:
        classes = (self.dataset_meta or {}).get('classes')
        if classes is None:
            classes = range(num_classes)
        return [str(name) for name in classes]


def _check_class_names(class_names: Sequence[str], num_classes: int) -> None:
    if len(class_names) != num_classes or len(set(class_names)) != num_classes:
        raise ValueError(
            f'Per-class figures need {num_classes} different class names, got '
            f'{len(class_names)} names, {len(set(class_names))} of them different.'
        )


def _where(data_sample: dict, index: int) -> str:
    """Which sample an error is about."""
    if 'img_path' in data_sample:
        return f' in the sample of {data_sample.get("img_path")}'
    return f' in sample {index} of the batch'


def _num_samples(results: Sequence[dict]) -> int:
    return sum(len(result['targets']) for result in results)


def _first_samples(results: Sequence[dict], number: int) -> list[dict]:
    """The first ``number`` samples of stored batches."""
    kept = []
    for result in results:
        if number > 0:
            kept.append({key: value[:number] for key, value in result.items()})
        number -= len(result['targets'])
    return kept
