# SPDX-License-Identifier: Apache-2.0
"""mAP, precision, recall and F1 as a metric of MMEngine."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather, broadcast_object_list, get_rank
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from ..decisions import Decisions, read_thr
from ..functional.inputs import (
    ArrayLike,
    as_scores,
    as_targets,
    check_matrices,
    check_nan,
)
from ..functional.label_rates import check_absent_classes
from ..functional.recognition import (
    check_class_names,
    check_topk,
    recognition_metrics,
)
from ..sampler_padding import num_without_padding
from ..samples import read_samples


@METRICS.register_module()
class MultiLabelRecognitionMetric(BaseMetric):
    """mAP and per-class / overall precision, recall and F1 for multi-label tasks.

    The metrics of the multi-label recognition literature, in percent:

    - ``mAP``: mean of the non-interpolated :func:`average_precision`.
    - ``CP``, ``CR``, ``CF1``, ``OP``, ``OR``, ``OF1``: see
      :func:`precision_recall_f1`, with the labels whose score is >= ``thr``.
    - ``top3_CP`` ... ``top3_OF1`` (named after ``topk``): the same with at most
      ``topk`` labels per image: those of its ``topk`` highest scores that are also
      >= ``thr``. Which labels an image gets depends on its scores alone: an unknown
      entry among the highest keeps its place, and is then not counted. Where labels
      have different thresholds, the ``topk`` highest scores are those of the
      predicted labels, and ``decisions`` rank calibrated scores.
    - ``num_classes_evaluated``: how many classes entered mAP (a count).
    - ``AP/<class name>`` of every evaluated class, if ``classwise`` is set.

    The protocol is that of ML-GCN (Chen et al., CVPR 2019, arXiv 1904.03582) and
    MulCon (Dao et al., arXiv 2107.11626). **Deviations** from their meter:

    - The meter counts 1 prediction for a class without any, which adds 1 to the
      denominator of OP for each such class. Here OP is the number of correct
      divided by the number of predicted labels.
    - A class without a positive is left out of mAP, CP and CR by default. In the
      meter it makes CR and CF1 nan and has AP 0 (MulCon) or stops with a division
      by zero (ML-GCN). ``absent_classes='zero'`` keeps it as 0 in all three.
    - Nothing predicted gives 0, where the meter has nan for F1. If the whole set
      has no positive, mAP is nan and a warning is logged; the other metrics are 0.
    - Equal scores are ranked together in AP, and cut by the lower class index in
      top-k. The meter leaves both to an unstable sort.
    - AP is divided by the number of positives; MulCon adds 1e-6 to it.
    - Targets are 1 present, 0 absent, -1 unknown, and unknown entries count
      nowhere. ML-GCN codes absent as -1 and VOC's "difficult" as 0, skips
      difficult entries in AP and counts them as absent in all other metrics.
    - Scores are compared in float32 and averaged in float64, whereas MulCon takes
      the sigmoid in half precision, which makes ties. Scores that come in half
      precision are converted, but keep the ties that they have already.
    - ``thr`` may be any number, and all metrics are in percent.

    MMPretrain's ``AveragePrecision`` also logs ``multi-label/mAP``: to run both in
    one evaluator, give one of them another ``prefix``.

    Args:
        thr (float | Sequence[float]): A label is predicted if its score is >=
            ``thr``, in the scale of ``pred_score`` (probabilities for MMPretrain's
            heads). K numbers are thresholds of each class. Defaults to 0.5.
        topk (int, optional): Largest number of labels per image in the top-k
            metrics; with ``topk`` >= K they equal those without. None switches
            them off. Defaults to 3.
        absent_classes (str): ``'skip'`` leaves classes without a positive target
            out of mAP, CP and CR, ``'zero'`` counts them as 0. Defaults to
            ``'skip'``.
        classwise (bool): Whether to return the AP of each evaluated class as a
            scalar of its own, named after ``dataset_meta['classes']`` or, without
            it, after the class index. Defaults to False.
        collect_device (str): Without effect, as is ``collect_dir``: processes
            exchange results through their process group. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names of the metrics. Defaults to
            None, which means ``default_prefix``.
        collect_dir (str, optional): Without effect. Defaults to None.
        decisions (Decisions | str, optional): Temperatures and thresholds of each
            label, or the path of a file with them, used instead of ``thr``. AP is
            that of the scores as they are. Defaults to None.

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
        _check_options(thr, topk, absent_classes)
        self.decisions = _load(decisions)
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
        float32 and ``targets`` (B, K) int8, copies on the CPU. A round of evaluation
        takes these 5 bytes per entry in memory; computing the metrics adds a
        constant.

        Args:
            data_batch (Any): A batch of data from the dataloader, unused.
            data_samples (Sequence[dict]): Outputs of the model, each (a dict or a
                DataSample) with ``pred_score`` (K,) and either ``gt_score`` (K,) of
                1, 0 and -1 or ``gt_label``, the indices of the present labels
                (possibly none). ``gt_score`` has priority if both are there.

        Raises:
            ValueError: As in :func:`read_samples`, or if thresholds or decisions are
                for other classes.
        """
        if len(data_samples) == 0:
            return
        classes = self._dataset_classes()
        earlier = self.results[0]['scores'].shape[1] if self.results else None
        scores, targets = read_samples(
            data_samples, None if classes is None else len(classes), earlier
        )
        if not self.results:
            # Now rather than after a whole round of evaluation.
            num_classes = scores.shape[1]
            decisions = _choose(self.thr, self.decisions, num_classes, classes)
            decisions.predict(scores)
            if self.classwise:
                check_class_names(self._class_names(num_classes), num_classes)
        self.results.append({'scores': scores, 'targets': targets})

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute all metrics from the samples of all processes.

        Every process must call it, also one without samples. Each drops its own
        padding first, see :func:`num_without_padding` for the samplers that this
        supports. Then counts are added up and scores are exchanged a few classes at
        a time, through the process group on the device of its backend. Nothing is
        pickled or written, so ``collect_device`` and ``collect_dir`` have no effect.

        Args:
            size (int): Number of samples of the dataset.

        Returns:
            dict[str, float]: The metrics named in the class docstring, with the
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
        held = torch.tensor([_num_samples(self.results)])
        num_held = torch.cat(all_gather(held)).tolist()
        if sum(num_held) < size:
            print_log(
                f'{type(self).__name__} got {sum(num_held)} samples of a dataset of '
                f'{size}: the metrics leave out the others.',
                logger='current',
                level=logging.WARNING,
            )
        num_kept = num_without_padding(num_held, size)[get_rank()]
        metrics = self.compute_metrics(_first_samples(self.results, num_kept))
        if self.prefix:
            metrics = {f'{self.prefix}/{key}': value for key, value in metrics.items()}
        # All have computed the same. Broadcasting makes sure that all return the same.
        shared = [metrics]
        broadcast_object_list(shared)
        self.results.clear()
        return shared[0]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute all metrics from the samples of all processes.

        Args:
            results (list[dict]): One item per batch of this process, as stored by
                :meth:`process`, without padding. Every process must call it.

        Returns:
            dict[str, float]: The metrics named in the class docstring, without
            the prefix.

        Raises:
            ValueError: On all processes, if there is no sample or if the processes
                have scores of different widths.
        """
        width = results[0]['scores'].shape[1] if results else 0
        shapes = torch.tensor([[_num_samples(results), width]])
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
        return recognition_metrics(
            scores or [torch.empty(0, num_classes)],
            targets or [torch.empty(0, num_classes, dtype=torch.int8)],
            num_rows,
            _choose(self.thr, self.decisions, num_classes),
            self.topk,
            self.absent_classes,
            self._class_names(num_classes) if self.classwise else None,
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
        """Compute all metrics from whole arrays.

        Args:
            scores (Tensor | np.ndarray | Sequence): Scores, shape (N, K).
            targets (Tensor | np.ndarray | Sequence): 1 present, 0 absent, -1
                unknown, shape (N, K).
            thr (float | Sequence[float]): A label is predicted if its score is >=
                ``thr``, one number or one per class. Defaults to 0.5.
            topk (int, optional): Largest number of labels per image in the top-k
                metrics, None to leave them out. Defaults to 3.
            absent_classes (str): ``'skip'`` or ``'zero'``, see the class. Defaults
                to ``'skip'``.
            class_names (Sequence[str], optional): K different names, to add
                ``AP/<class name>`` of each evaluated class. Defaults to None.
            decisions (Decisions | str, optional): See the class. Defaults to None.

        Returns:
            dict[str, float]: The metrics named in the class docstring, without a
            prefix; all are percentages but ``num_classes_evaluated``.

        Raises:
            ValueError: If an argument is not as above, or if a score is nan.
        """
        _check_options(thr, topk, absent_classes)
        given = _load(decisions)
        scores, targets = as_scores(scores), as_targets(targets)
        check_matrices('scores', scores, targets)
        check_nan(scores)
        return recognition_metrics(
            [scores],
            [targets],
            [len(scores)],
            _choose(thr, given, scores.shape[1], class_names),
            topk,
            absent_classes,
            class_names,
        )

    def _dataset_classes(self) -> Sequence[str] | None:
        return (self.dataset_meta or {}).get('classes')

    def _class_names(self, num_classes: int) -> list[str]:
        classes = self._dataset_classes()
        return [
            str(name) for name in (range(num_classes) if classes is None else classes)
        ]


def _check_options(
    thr: float | Sequence[float], topk: int | None, absent_classes: str
) -> None:
    read_thr(thr)
    check_topk(topk)
    check_absent_classes(absent_classes)


def _load(decisions: Decisions | str | None) -> Decisions | None:
    """Load decisions if they are given as a path."""
    if decisions is None or isinstance(decisions, Decisions):
        return decisions
    return Decisions.load(decisions)


def _choose(
    thr: float | Sequence[float],
    decisions: Decisions | None,
    num_classes: int,
    class_names: Sequence[str] | None = None,
) -> Decisions:
    """Return the decisions, checked against the names if there are any, or ``thr``."""
    if decisions is None:
        return Decisions.from_thr(thr, num_classes)
    if class_names is not None:
        decisions.check(class_names)
    return decisions


def _num_samples(results: Sequence[dict]) -> int:
    # len() of a tensor takes longer.
    return sum(result['targets'].shape[0] for result in results)


def _first_samples(results: Sequence[dict], number: int) -> list[dict]:
    """Take the first ``number`` samples of stored batches."""
    kept = []
    for result in results:
        if number > 0:
            kept.append({key: value[:number] for key, value in result.items()})
        number -= result['targets'].shape[0]
    return kept
