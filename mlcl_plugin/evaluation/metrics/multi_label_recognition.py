# SPDX-License-Identifier: Apache-2.0
import logging
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpretrain.registry import METRICS
from torch import Tensor

ArrayLike = Tensor | np.ndarray | Sequence

ABSENT_CLASSES = ('skip', 'zero')


def _as_scores(value: ArrayLike) -> Tensor:
    """Tensor of scores in single or double precision, on the CPU."""
    scores = torch.as_tensor(value).detach().cpu()
    if scores.dtype in (torch.float16, torch.bfloat16):
        return scores.float()
    return scores if scores.is_floating_point() else scores.double()


def _as_targets(value: ArrayLike, where: str = '') -> Tensor:
    """Tensor of int8 targets on the CPU, checked to be in {1, 0, -1}."""
    raw = torch.as_tensor(value).detach().cpu()
    targets = raw.to(torch.int8)
    # The comparison promotes the types, so that what int8 cannot hold (0.9, 257,
    # 255 in uint8, nan) differs from the value it came from.
    bad = (targets != raw) | (targets < -1) | (targets > 1)
    if bad.any():
        raise ValueError(
            'targets must be 1 (present), 0 (absent) or -1 (unknown), got '
            f'{raw[bad].unique()[:5].tolist()}{where}. Map soft or remapped labels '
            'to these three values before evaluating.'
        )
    return targets


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


def _check_options(thr: float, topk: int | None, absent_classes: str) -> None:
    if isinstance(thr, bool) or not isinstance(thr, Real) or not math.isfinite(thr):
        raise ValueError(f'thr must be a finite number, got {thr!r}.')
    if topk is not None and (
        isinstance(topk, bool) or not isinstance(topk, Integral) or topk < 1
    ):
        raise ValueError(
            f'topk must be an integer >= 1, or None to switch it off, got {topk!r}.'
        )
    _check_absent_classes(absent_classes)


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
    if scores.shape[0] == 0:
        return scores.new_full((scores.shape[1],), math.nan, dtype=torch.float64)

    # One class a row, as sorting along the contiguous dimension is faster.
    ranked, order = scores.t().contiguous().sort(dim=1, descending=True)
    ranked_targets = targets.t().gather(1, order)
    hits = (ranked_targets == 1).cumsum(1)
    seen = (ranked_targets != -1).cumsum(1)

    # Precision is read at the last entry of each group of equal scores only, and
    # weighted with the number of positives of the group.
    group_end = torch.ones_like(ranked, dtype=torch.bool)
    group_end[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    # `hits` never falls, so a running maximum carries the last group end forward.
    hits_at_end = (hits * group_end).cummax(1).values
    hits_before = hits_at_end.roll(1, dims=1)
    hits_before[:, 0] = 0
    group_hits = (hits - hits_before) * group_end

    # `seen` is 0 only where nothing but unknown entries came, with 0 hits.
    precision = hits.double() / seen.clamp(min=1)
    # 0 / 0 makes the nan of a class without a positive.
    return (group_hits * precision).sum(1) / hits[:, -1]


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
    num_correct = (pred_mask & truth).sum(0).double()
    num_predicted = (pred_mask & (targets != -1)).sum(0).double()
    num_true = truth.sum(0).double()

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


def _topk_mask(scores: Tensor, topk: int) -> Tensor:
    """True at the ``topk`` highest scores of each row, shape (N, K).

    Of equal scores the lower class index comes first, which a stable sort keeps.
    """
    order = scores.sort(dim=1, descending=True, stable=True).indices
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter_(1, order[:, :topk], True)


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
        thr (float): A label is predicted if its score is >= ``thr``, in the scale
            of ``pred_score`` (probabilities for MMPretrain's heads). Defaults to
            0.5.
        topk (int, optional): Largest number of labels an image in the top-k
            figures; with ``topk`` >= K they equal those without. None switches
            them off. Defaults to 3.
        absent_classes (str): ``'skip'`` leaves classes without a positive target
            out of mAP, CP and CR, ``'zero'`` counts them as 0. Defaults to
            ``'skip'``.
        classwise (bool): Whether to return the AP of each evaluated class as a
            scalar of its own, named after ``dataset_meta['classes']`` or, without
            it, after the class index. Defaults to False.
        collect_device (str): Device for collecting results from different ranks,
            'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names of the figures. Defaults to
            None, which means ``default_prefix``.
        collect_dir (str, optional): Directory for collecting results from
            different ranks on 'cpu'. Defaults to None.

    Raises:
        ValueError: If an argument is not as above.

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
        thr: float = 0.5,
        topk: int | None = 3,
        absent_classes: str = 'skip',
        classwise: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        _check_options(thr, topk, absent_classes)
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

        One item per sample is appended to ``self.results``, as MMEngine drops the
        samples that pad the last batch of a distributed run by their number.

        Args:
            data_batch (Any): A batch of data from the dataloader, unused.
            data_samples (Sequence[dict]): Outputs of the model, each with
                ``pred_score`` (K,) and either ``gt_score`` (K,) in {1, 0, -1} or
                ``gt_label``, the indices of the present labels (possibly none).
                ``gt_score`` wins if there are both.

        Raises:
            ValueError: If a field is missing, a score is nan, the width of the
                scores differs from the targets, from ``dataset_meta['classes']`` or
                from earlier samples, a target is outside {1, 0, -1}, or
                ``gt_label`` is not a list of different indices in [0, K). Names the
                image where the sample has an ``img_path``.
        """
        for index, data_sample in enumerate(data_samples):
            if 'img_path' in data_sample:
                where = f' in the sample of {data_sample["img_path"]}'
            else:
                where = f' in sample {index} of the batch'
            scores, targets = self._read_sample(data_sample, where)
            # A copy, as a view would keep (and pickle) the scores of the batch.
            self.results.append(
                {'scores': scores.to(torch.float32, copy=True), 'targets': targets}
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute all figures from the stored samples of all ranks.

        Args:
            results (List[dict]): One item per sample with ``scores`` (K,) float32
                and ``targets`` (K,) int8.

        Returns:
            Dict[str, float]: The figures named in the class docstring.

        Raises:
            ValueError: If there is no sample.
        """
        if len(results) == 0:
            raise ValueError(
                f'{type(self).__name__} got no sample to evaluate. Check that the '
                'dataset is not empty and that `process` was called.'
            )
        scores = torch.stack([result['scores'] for result in results])
        targets = torch.stack([result['targets'] for result in results])
        return self.calculate(
            scores,
            targets,
            thr=self.thr,
            topk=self.topk,
            absent_classes=self.absent_classes,
            class_names=self._class_names(scores.shape[1]) if self.classwise else None,
        )

    @staticmethod
    def calculate(
        scores: ArrayLike,
        targets: ArrayLike,
        thr: float = 0.5,
        topk: int | None = 3,
        absent_classes: str = 'skip',
        class_names: Sequence[str] | None = None,
    ) -> dict[str, float]:
        """Compute all figures from whole arrays.

        Args:
            scores (Tensor | np.ndarray | Sequence): Scores, shape (N, K).
            targets (Tensor | np.ndarray | Sequence): 1 present, 0 absent, -1
                unknown, shape (N, K).
            thr (float): A label is predicted if its score is >= ``thr``. Defaults
                to 0.5.
            topk (int, optional): Largest number of labels an image in the top-k
                figures, None for leaving them out. Defaults to 3.
            absent_classes (str): ``'skip'`` or ``'zero'``, see the class. Defaults
                to ``'skip'``.
            class_names (Sequence[str], optional): K different names, to add
                ``AP/<class name>`` of each evaluated class. Defaults to None.

        Returns:
            Dict[str, float]: The figures named in the class docstring, without a
            prefix; all are percentages but ``num_classes_evaluated``.

        Raises:
            ValueError: If an argument is not as above, or if a score is nan.
        """
        _check_options(thr, topk, absent_classes)
        scores, targets = _as_scores(scores), _as_targets(targets)
        ap = average_precision(scores, targets) * 100
        if class_names is not None:
            _check_class_names(class_names, len(ap))

        present = ~ap.isnan()
        if not present.any():
            print_log(
                f'None of the {len(scores)} samples has a positive target in any of '
                f'the {len(ap)} classes: mAP is undefined (nan), recall is 0.',
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
        # A Python number is compared in the precision of the scores, so that a
        # score of 0.7 in float32 passes a threshold of 0.7.
        pred_mask = scores >= float(thr)
        masks = {'': pred_mask}
        if topk is not None:
            masks[f'top{topk}_'] = pred_mask & _topk_mask(scores, topk)
        for name, mask in masks.items():
            for key, value in precision_recall_f1(
                mask, targets, absent_classes
            ).items():
                metrics[f'{name}{key}'] = value * 100

        if class_names is not None:
            for index in evaluated.nonzero().flatten().tolist():
                metrics[f'AP/{class_names[index]}'] = ap[index].item()
        return metrics

    def _read_sample(self, data_sample: dict, where: str) -> tuple[Tensor, Tensor]:
        """Checked scores (K,) and int8 targets (K,) of one sample."""
        if 'pred_score' not in data_sample:
            raise ValueError(
                f'There is no pred_score{where}. The head must set it in `predict`.'
            )
        scores = _as_scores(data_sample['pred_score'])
        if scores.ndim != 1 or len(scores) == 0:
            raise ValueError(
                f'pred_score must have shape (K,), got {tuple(scores.shape)}{where}.'
            )
        _check_nan(scores, where)
        num_classes = len(scores)
        self._check_width(num_classes, where)

        if 'gt_score' in data_sample:
            targets = _as_targets(data_sample['gt_score'], where)
            if targets.shape != scores.shape:
                raise ValueError(
                    f'gt_score must have the shape of pred_score, ({num_classes},), '
                    f'got {tuple(targets.shape)}{where}. Set num_classes of the head '
                    'to the number of classes of the dataset.'
                )
        elif 'gt_label' in data_sample:
            targets = _labels_to_targets(data_sample['gt_label'], num_classes, where)
        else:
            raise ValueError(
                f'There is neither gt_score nor gt_label{where}. Let the pipeline '
                'pack one of them.'
            )
        return scores, targets

    def _check_width(self, num_classes: int, where: str) -> None:
        classes = (self.dataset_meta or {}).get('classes')
        if classes is not None and len(classes) != num_classes:
            raise ValueError(
                f'The dataset has {len(classes)} classes but pred_score has '
                f'{num_classes} entries{where}. Set num_classes of the head to '
                f'{len(classes)}.'
            )
        if not self.results:
            if self.classwise:
                # Now rather than after a whole round of evaluation.
                _check_class_names(self._class_names(num_classes), num_classes)
        elif len(self.results[0]['scores']) != num_classes:
            raise ValueError(
                f'pred_score has {num_classes} entries{where}, but '
                f'{len(self.results[0]["scores"])} in the samples before it.'
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


def _labels_to_targets(value: ArrayLike, num_classes: int, where: str) -> Tensor:
    """Targets (K,) of int8 in {1, 0} from the indices of the present labels."""
    labels = torch.as_tensor(value).detach().cpu()
    labels = labels.reshape(1) if labels.ndim == 0 else labels
    targets = torch.zeros(num_classes, dtype=torch.int8)
    if labels.numel() == 0:
        return targets
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            'gt_label must be a list of integer label indices, got '
            f'{labels.dtype} of shape {tuple(labels.shape)}{where}. A vector with one '
            'entry per class goes into gt_score.'
        )
    labels = labels.long()
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f'gt_label {labels.tolist()} has an index outside [0, {num_classes}), '
            f'the range given by pred_score{where}.'
        )
    if len(labels.unique()) != len(labels):
        raise ValueError(
            f'gt_label {labels.tolist()} names a label twice{where}. It holds label '
            'indices; a vector of 0 and 1 goes into gt_score.'
        )
    return targets.index_fill_(0, labels, 1)
