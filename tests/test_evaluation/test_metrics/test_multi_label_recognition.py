# SPDX-License-Identifier: Apache-2.0
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score

from mlcl_plugin.evaluation import (
    MultiLabelRecognitionMetric,
    average_precision,
    class_blocks,
    precision_recall_f1,
)
from mlcl_plugin.evaluation.functional import recognition

DATA = Path(__file__).parents[2] / 'data'
FIELDS = ('pred_score', 'gt_score')
RATES = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')


def make_case(num_images=60, num_classes=7, ties=False, unknown=0.0, seed=0):
    """Scores and targets that correlate; ties come from a grid of 5 values."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, num_classes)) < 0.3).astype(np.int64)
    scores = np.clip(0.3 * targets + 0.7 * rng.random(targets.shape), 0, 1)
    if ties:
        scores = np.round(scores * 4) / 4
    targets[rng.random(targets.shape) < unknown] = -1
    return torch.from_numpy(scores).float(), torch.from_numpy(targets)


def oracle_ap(scores, targets):
    """AP of one class by its definition; an entry's rank counts its equals."""
    known = [(s, t) for s, t in zip(scores, targets) if t != -1]
    positives = [s for s, t in known if t == 1]
    if not positives:
        return math.nan
    total = 0.0
    for score in positives:
        above = [t for s, t in known if s >= score]
        total += above.count(1) / len(above)
    return total / len(positives)


def oracle_topk(row, k):
    """Indices of the k highest scores, the lower index first among equals."""
    return sorted(range(len(row)), key=lambda index: (-row[index], index))[:k]


def oracle(scores, targets, thr, topk, absent_classes):
    """All metrics in percent, one entry at a time."""
    scores, targets = scores.tolist(), targets.tolist()
    num_classes = len(scores[0])
    aps = [
        oracle_ap([row[k] for row in scores], [row[k] for row in targets])
        for k in range(num_classes)
    ]
    used = [k for k in range(num_classes) if not math.isnan(aps[k])]
    if absent_classes == 'zero':
        used = list(range(num_classes))
    aps = [0.0 if math.isnan(ap) else ap for ap in aps]
    result = {
        'mAP': 100 * sum(aps[k] for k in used) / len(used),
        'num_classes_evaluated': len(used),
    }
    for name, limit in (('', num_classes), (f'top{topk}_', topk)):
        correct, predicted, true = ([0] * num_classes for _ in range(3))
        for score_row, target_row in zip(scores, targets):
            allowed = oracle_topk(score_row, limit)
            for k in range(num_classes):
                if target_row[k] == -1:
                    continue
                hit = k in allowed and score_row[k] >= thr
                predicted[k] += hit
                true[k] += target_row[k]
                correct[k] += hit and target_row[k] == 1

        def ratio(a, b):
            return a / b if b else 0.0

        values = {
            'CP': sum(ratio(correct[k], predicted[k]) for k in used) / len(used),
            'CR': sum(ratio(correct[k], true[k]) for k in used) / len(used),
            'OP': ratio(sum(correct), sum(predicted)),
            'OR': ratio(sum(correct), sum(true)),
        }
        for kind in 'CO':
            p, r = values[f'{kind}P'], values[f'{kind}R']
            values[f'{kind}F1'] = ratio(2 * p * r, p + r)
        result.update({f'{name}{key}': 100 * v for key, v in values.items()})
    return result


def make_samples(scores, targets, **meta):
    return [
        DataSample(metainfo={key: value[i] for key, value in meta.items()})
        .set_pred_score(s)
        .set_gt_score(t)
        for i, (s, t) in enumerate(zip(scores, targets))
    ]


def evaluate(metric, samples, classes=None, batch_size=8):
    evaluator = Evaluator(metric)
    if classes is not None:
        evaluator.dataset_meta = {'classes': classes}
    for start in range(0, len(samples), batch_size):
        evaluator.process(samples[start : start + batch_size])
    return evaluator.evaluate(len(samples))


@pytest.fixture
def log_records():
    """Records that reach MMEngine's current logger."""
    records = []

    class Collect(logging.Handler):
        def emit(self, record):
            records.append(record)

    logger, handler = MMLogger.get_current_instance(), Collect()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture(scope='module')
def reference():
    with np.load(DATA / 'mulcon_reference.npz') as data:
        return {k: data[k] for k in data.files if k.startswith('metric_')}


class TestReference:
    def test_average_precision(self, reference):
        ap = average_precision(reference['metric_scores'], reference['metric_targets'])
        np.testing.assert_allclose(ap, reference['metric_ap'], rtol=0, atol=1e-6)

    @pytest.mark.parametrize('absent_classes', ['skip', 'zero'])
    def test_calculate(self, reference, absent_classes):
        result = MultiLabelRecognitionMetric.calculate(
            reference['metric_scores'],
            reference['metric_targets'],
            absent_classes=absent_classes,
        )
        order = ('OP', 'OR', 'OF1', 'CP', 'CR', 'CF1')
        for prefix, key in (('', 'overall'), ('top3_', 'top3')):
            np.testing.assert_allclose(
                [result[prefix + name] / 100 for name in order],
                reference[f'metric_{key}_OP_OR_OF1_CP_CR_CF1'],
                rtol=0,
                atol=1e-6,
            )
        expected_map = reference['metric_ap'].mean()
        assert result['mAP'] / 100 == pytest.approx(expected_map, abs=1e-6)
        assert result['num_classes_evaluated'] == 6


class TestAveragePrecision:
    def test_by_hand(self):
        scores = torch.tensor([[0.9, 0.5], [0.8, 0.5], [0.7, 0.5], [0.6, 0.5]])
        targets = torch.tensor([[1, 0], [0, 0], [1, 0], [0, 1]])
        ap = average_precision(scores, targets)
        assert ap.dtype == torch.float64
        # Ranks 1 and 3 of 4; one positive in one group of four equal scores.
        assert ap.tolist() == pytest.approx([(1 / 1 + 2 / 3) / 2, 1 / 4])

    @pytest.mark.parametrize('ties', [False, True])
    def test_scikit_learn(self, ties):
        scores, targets = make_case(ties=ties, seed=1)
        expected = [
            average_precision_score(targets[:, k], scores[:, k])
            for k in range(targets.shape[1])
        ]
        np.testing.assert_allclose(
            average_precision(scores, targets), expected, rtol=1e-12
        )

    @pytest.mark.parametrize('unknown', [0.0, 0.3])
    @pytest.mark.parametrize('ties', [False, True])
    def test_loop(self, ties, unknown):
        scores, targets = make_case(ties=ties, unknown=unknown, seed=2)
        expected = [
            oracle_ap(scores[:, k].tolist(), targets[:, k].tolist())
            for k in range(targets.shape[1])
        ]
        np.testing.assert_allclose(
            average_precision(scores, targets), expected, rtol=1e-12
        )

    def test_rank_formula_without_ties(self):
        scores, targets = make_case(num_classes=1, seed=3)
        assert len(scores.unique()) == len(scores)
        hits = targets[scores[:, 0].argsort(descending=True), 0].numpy()
        ranks = np.flatnonzero(hits) + 1
        expected = np.mean(np.arange(1, len(ranks) + 1) / ranks)
        assert average_precision(scores, targets).item() == pytest.approx(expected)

    def test_unknown_equals_removed(self):
        scores, targets = make_case(num_classes=1, ties=True, unknown=0.4, seed=4)
        known = targets[:, 0] != -1
        assert 0 < known.sum() < len(known)
        kept = average_precision(scores[known], targets[known])
        assert torch.equal(average_precision(scores, targets), kept)

    def test_leading_unknown_entries(self):
        ap = average_precision([[0.9], [0.8], [0.1]], [[-1], [1], [0]])
        assert ap.item() == 1

    def test_class_without_positive_is_nan(self):
        scores = [[0.9, 0.1, 0.4, 0.3], [0.2, 0.3, 0.5, 0.4]]
        ap = average_precision(scores, [[1, 0, -1, -1], [0, 0, -1, 0]])
        assert ap[0] == 1
        assert ap[1:].isnan().all()

    def test_no_rows(self):
        ap = average_precision(torch.zeros(0, 3), torch.zeros(0, 3))
        assert ap.shape == (3,) and ap.isnan().all()

    @pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
    def test_infinite_scores_and_unknown(self, dtype):
        """Neither may be taken for the other."""
        scores, targets = make_case(num_images=40, unknown=0.3, seed=23)
        scores = scores.to(dtype)
        scores[::3], scores[1::3] = -math.inf, math.inf
        targets[:, 0], scores[:, 1] = 1, -math.inf
        expected = [
            oracle_ap(scores[:, k].tolist(), targets[:, k].tolist())
            for k in range(targets.shape[1])
        ]
        np.testing.assert_allclose(
            average_precision(scores, targets), expected, rtol=1e-12
        )

    def test_double_precision_is_kept(self):
        scores = torch.tensor([[0.5], [0.5 + 1e-12]], dtype=torch.float64)
        assert average_precision(scores, [[0], [1]]).item() == 1
        assert average_precision(scores.float(), [[0], [1]]).item() == 0.5

    @pytest.mark.parametrize('entries', [1, 70, 10**6])
    def test_blocks_of_classes(self, monkeypatch, entries):
        scores, targets = make_case(ties=True, unknown=0.2, seed=24)
        targets[:, 2] = 0
        expected = average_precision(scores, targets)
        monkeypatch.setattr(class_blocks, 'BLOCK_ENTRIES', entries)
        result = average_precision(scores, targets)
        assert torch.equal(result.nan_to_num(-1), expected.nan_to_num(-1))

    def test_logits_equal_probabilities(self):
        scores, targets = make_case(seed=5)
        logits = torch.logit(scores.double().clamp(1e-6, 1 - 1e-6))
        assert torch.equal(
            average_precision(logits, targets),
            average_precision(logits.sigmoid(), targets),
        )

    def test_infinite_and_signed_zero_scores(self):
        scores = [[math.inf], [-0.0], [0.0], [-math.inf]]
        ap = average_precision(scores, [[1], [0], [1], [0]])
        assert ap.item() == pytest.approx((1 + 2 / 3) / 2)


class TestPrecisionRecallF1:
    def test_by_hand(self):
        mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]]).bool()
        targets = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 1], [1, -1, 0]])
        skip = precision_recall_f1(mask, targets)
        # Class 0: 2 of 3 predicted, 2 of 3 true. Class 1: no positive, one wrong
        # prediction. Class 2: two positives, nothing predicted, which must not
        # change the denominator of OP.
        cp, cr, op, o_r = (2 / 3 + 0) / 2, (2 / 3 + 0) / 2, 2 / 4, 2 / 5
        assert skip == pytest.approx(
            {
                'CP': cp,
                'CR': cr,
                'CF1': 2 * cp * cr / (cp + cr),
                'OP': op,
                'OR': o_r,
                'OF1': 2 * op * o_r / (op + o_r),
            }
        )
        zero = precision_recall_f1(mask, targets, absent_classes='zero')
        assert zero['CP'] == pytest.approx((2 / 3 + 0 + 0) / 3)
        assert zero['CR'] == pytest.approx((2 / 3 + 0 + 0) / 3)
        assert (zero['OP'], zero['OR']) == (skip['OP'], skip['OR'])

    def test_cf1_is_the_harmonic_mean_of_the_averages(self):
        # Class 0: precision 1, recall 1/2. Class 1: precision 1/2, recall 1.
        mask = np.array([[1, 1], [0, 1]], dtype=bool)
        result = precision_recall_f1(mask, [[1, 1], [1, 0]])
        assert result['CF1'] == pytest.approx(0.75)
        assert result['CF1'] != pytest.approx(2 / 3)  # mean of the per-class F1

    def test_unknown_equals_removed(self):
        mask = torch.tensor([[1], [1], [0], [1], [0]]).bool()
        targets = torch.tensor([[1], [0], [1], [-1], [-1]])
        assert precision_recall_f1(mask, targets) == precision_recall_f1(
            mask[:3], targets[:3]
        )

    def test_nothing_predicted(self):
        result = precision_recall_f1(np.zeros((3, 2), dtype=bool), np.eye(3, 2))
        assert result == dict.fromkeys(RATES, 0.0)

    @pytest.mark.parametrize('absent_classes', ['skip', 'zero'])
    def test_no_positive(self, absent_classes):
        mask = np.ones((3, 2), dtype=bool)
        result = precision_recall_f1(mask, np.zeros((3, 2)), absent_classes)
        assert result == dict.fromkeys(RATES, 0.0)


class TestCalculate:
    @pytest.mark.parametrize('absent_classes', ['skip', 'zero'])
    @pytest.mark.parametrize('unknown', [0.0, 0.3])
    @pytest.mark.parametrize('ties', [False, True])
    @pytest.mark.parametrize(('thr', 'topk'), [(0.5, 3), (0.25, 2), (0.9, 1)])
    def test_loop(self, thr, topk, ties, unknown, absent_classes):
        scores, targets = make_case(ties=ties, unknown=unknown, seed=6)
        targets[:, 2] = targets[:, 2].clamp(max=0)  # a class without positives
        args = {'thr': thr, 'topk': topk, 'absent_classes': absent_classes}
        result = MultiLabelRecognitionMetric.calculate(scores, targets, **args)
        assert result == pytest.approx(oracle(scores, targets, **args), rel=1e-12)

    def test_absent_classes(self):
        scores = [[0.9, 0.8], [0.1, 0.2]]
        targets = [[1, 0], [0, 0]]
        skip = MultiLabelRecognitionMetric.calculate(scores, targets)
        zero = MultiLabelRecognitionMetric.calculate(
            scores, targets, absent_classes='zero'
        )
        for key in ('mAP', 'CP', 'CR'):
            assert (skip[key], zero[key]) == (100, 50)
        assert (skip['num_classes_evaluated'], zero['num_classes_evaluated']) == (1, 2)
        # The prediction for the absent class is a false positive either way.
        assert skip['OP'] == zero['OP'] == 50

    @pytest.mark.parametrize('topk', [1, 3])
    def test_row_order_does_not_matter(self, topk):
        scores, targets = make_case(num_images=200, ties=True, unknown=0.1, seed=7)
        expected = MultiLabelRecognitionMetric.calculate(scores, targets, topk=topk)
        for seed in range(5):
            order = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
            result = MultiLabelRecognitionMetric.calculate(
                scores[order], targets[order], topk=topk
            )
            assert result == expected

    def test_constant_scores(self):
        _, targets = make_case(seed=8)
        result = MultiLabelRecognitionMetric.calculate(
            torch.full(targets.shape, 0.5), targets
        )
        share = targets.double().mean(0)
        assert result['mAP'] == pytest.approx(100 * share.mean().item())
        # The first three classes are the top 3 of every image.
        assert result['top3_OP'] == pytest.approx(100 * share[:3].mean().item())

    def test_topk_tie_goes_to_the_lower_index(self):
        # 40 columns, as short rows may be sorted stably by accident.
        scores = torch.full((1, 40), 0.8)
        scores[0, 30] = 0.9
        for index in range(40):
            targets = torch.zeros(1, 40)
            targets[0, index] = 1
            result = MultiLabelRecognitionMetric.calculate(scores, targets)
            assert (result['top3_OR'] == 100) == (index in (0, 1, 30))

    def test_topk_keeps_only_scores_above_thr(self):
        result = MultiLabelRecognitionMetric.calculate(
            [[0.9, 0.4, 0.3, 0.2]], [[1, 1, 1, 1]]
        )
        assert (result['top3_OP'], result['top3_OR']) == (100, 25)

    def test_topk_does_not_depend_on_targets(self):
        # The unknown first class keeps its place in the top 1: class 1 does not
        # move up, and nothing is left to count.
        result = MultiLabelRecognitionMetric.calculate([[0.9, 0.8]], [[-1, 1]], topk=1)
        assert result['top1_OR'] == 0
        assert result['OR'] == 100

    @pytest.mark.parametrize('topk', [1, 2, 4, 6, 7])
    def test_topk_ties_in_many_rows(self, topk):
        scores, targets = make_case(num_images=300, ties=True, seed=25)
        args = {'thr': 0.25, 'topk': topk, 'absent_classes': 'skip'}
        result = MultiLabelRecognitionMetric.calculate(scores, targets, **args)
        assert result == pytest.approx(oracle(scores, targets, **args), rel=1e-12)

    def test_topk_above_the_number_of_classes(self):
        scores, targets = make_case(num_classes=2, seed=9)
        result = MultiLabelRecognitionMetric.calculate(scores, targets, topk=3)
        for name in RATES:
            assert result[f'top3_{name}'] == result[name]

    def test_topk_off(self):
        result = MultiLabelRecognitionMetric.calculate([[0.9]], [[1]], topk=None)
        assert set(result) == {'mAP', 'num_classes_evaluated', *RATES}

    @pytest.mark.parametrize('value', [0.5, 0.7])
    def test_score_equal_to_thr_is_predicted(self, value):
        # 0.7 in float32 lies below 0.7 in float64.
        scores = torch.tensor([[value]])
        result = MultiLabelRecognitionMetric.calculate(scores, [[1]], thr=value)
        assert result['OR'] == 100

    def test_nothing_predicted(self):
        scores, targets = make_case(seed=10)
        result = MultiLabelRecognitionMetric.calculate(scores * 0.4, targets)
        for name in RATES:
            assert result[name] == result[f'top3_{name}'] == 0
        assert result['mAP'] > 0

    def test_single_image(self):
        scores, targets = torch.tensor([[0.9, 0.6, 0.2]]), torch.tensor([[1, 0, 1]])
        result = MultiLabelRecognitionMetric.calculate(scores, targets)
        assert result['mAP'] == 100
        assert result['num_classes_evaluated'] == 2
        assert (result['OP'], result['OR']) == (50, 50)
        assert (result['CP'], result['CR']) == (50, 50)

    @pytest.mark.parametrize('absent_classes', ['skip', 'zero'])
    @pytest.mark.parametrize('num_images', [0, 4])
    def test_no_positive_anywhere(self, num_images, absent_classes, log_records):
        result = MultiLabelRecognitionMetric.calculate(
            torch.rand(num_images, 5),
            torch.zeros(num_images, 5),
            absent_classes=absent_classes,
            class_names='abcde',
        )
        assert math.isnan(result.pop('mAP'))
        assert set(result.values()) == {0}
        assert [r.levelno for r in log_records] == [logging.WARNING]
        assert 'mAP is undefined' in log_records[0].getMessage()

    def test_no_warning_otherwise(self, log_records):
        MultiLabelRecognitionMetric.calculate(*make_case(seed=11))
        assert log_records == []

    def test_input_is_not_modified(self):
        scores, targets = make_case(unknown=0.2, seed=12)
        copies = scores.clone(), targets.clone()
        MultiLabelRecognitionMetric.calculate(scores, targets)
        assert torch.equal(scores, copies[0]) and torch.equal(targets, copies[1])


class TestEvaluator:
    def test_agrees_with_calculate(self):
        scores, targets = make_case(num_images=30, unknown=0.1, seed=13)
        metric = METRICS.build(
            {'type': 'MultiLabelRecognitionMetric', 'thr': 0.4, 'topk': 2}
        )
        result = evaluate(metric, make_samples(scores, targets))
        expected = MultiLabelRecognitionMetric.calculate(
            scores, targets, thr=0.4, topk=2
        )
        assert result == {f'multi-label/{k}': v for k, v in expected.items()}
        assert metric.results == []

    def test_gt_label(self):
        scores, targets = make_case(num_images=30, seed=14)
        targets[3] = 0  # an image without labels
        samples = [
            DataSample().set_pred_score(s).set_gt_label(t.nonzero().flatten())
            for s, t in zip(scores, targets)
        ]
        assert evaluate(MultiLabelRecognitionMetric(), samples) == evaluate(
            MultiLabelRecognitionMetric(), make_samples(scores, targets)
        )

    @pytest.mark.parametrize('label', [[], 1, [1], (1, 2), np.array([2, 1])])
    def test_gt_label_of_a_plain_dict(self, label):
        metric = MultiLabelRecognitionMetric()
        metric.process(None, [{'pred_score': [0.1, 0.2, 0.3], 'gt_label': label}])
        expected = [int(k in np.atleast_1d(label)) for k in range(3)]
        assert metric.results[0]['targets'].tolist() == [expected]

    def test_gt_score_wins_over_gt_label(self):
        metric = MultiLabelRecognitionMetric()
        sample = {'pred_score': [0.1, 0.2], 'gt_score': [0, -1], 'gt_label': [0]}
        metric.process(None, [sample])
        assert metric.results[0]['targets'].tolist() == [[0, -1]]

    def test_padding_is_dropped_by_sample(self):
        scores, targets = make_case(num_images=10, seed=15)
        evaluator = Evaluator(MultiLabelRecognitionMetric())
        evaluator.process(make_samples(scores, targets))
        evaluator.process(make_samples(scores[:2], 1 - targets[:2]))
        result = evaluator.evaluate(10)
        expected = MultiLabelRecognitionMetric.calculate(scores, targets)
        assert result['multi-label/mAP'] == expected['mAP']

    def test_stored_results_are_small_copies(self):
        scores, targets = make_case(num_images=50, seed=16)
        metric = MultiLabelRecognitionMetric()
        metric.process(None, [s.to_dict() for s in make_samples(scores, targets)])
        metric.process(None, [s.to_dict() for s in make_samples(scores, targets)[:1]])
        # One item a batch, without what the views of a batch keep alive.
        for item, rows in zip(metric.results, (50, 1), strict=True):
            assert item['scores'].dtype == torch.float32
            assert item['targets'].dtype == torch.int8
            assert item['scores'].untyped_storage().nbytes() == rows * 7 * 4
            assert item['targets'].untyped_storage().nbytes() == rows * 7
            assert torch.equal(item['scores'], scores[:rows])
            assert torch.equal(item['targets'].long(), targets[:rows])
        scores.zero_(), targets.zero_()
        assert metric.results[0]['scores'].all()

    def test_data_samples_as_they_are(self):
        scores, targets = make_case(num_images=9, unknown=0.2, seed=19)
        samples = make_samples(scores, targets)
        metric = MultiLabelRecognitionMetric()
        metric.process(None, samples)
        assert torch.equal(metric.results[0]['scores'], scores)
        assert torch.equal(metric.results[0]['targets'].long(), targets)

    def test_empty_batch(self):
        metric = MultiLabelRecognitionMetric()
        metric.process(None, [])
        assert metric.results == []

    @pytest.mark.parametrize('batch_sizes', [[1] * 40, [40], [3, 20, 1, 9, 7]])
    @pytest.mark.parametrize('entries', [1, 41, 10**6])
    def test_batches_and_blocks_do_not_matter(self, monkeypatch, entries, batch_sizes):
        scores, targets = make_case(num_images=40, ties=True, unknown=0.1, seed=20)
        scores[::7, 1], scores[1::7, 1] = -math.inf, math.inf
        expected = MultiLabelRecognitionMetric.calculate(scores, targets)
        monkeypatch.setattr(class_blocks, 'BLOCK_ENTRIES', entries)
        monkeypatch.setattr(recognition, 'CHUNK_ENTRIES', entries)
        generator = torch.Generator().manual_seed(entries)
        order = torch.randperm(40, generator=generator)
        metric = MultiLabelRecognitionMetric()
        for rows in order.split(batch_sizes):
            metric.process(None, make_samples(scores[rows], targets[rows]))
        assert metric.evaluate(40) == {
            f'multi-label/{k}': v for k, v in expected.items()
        }
        assert expected == MultiLabelRecognitionMetric.calculate(scores, targets)

    def test_last_batch_is_padding(self):
        scores, targets = make_case(num_images=10, seed=21)
        metric = MultiLabelRecognitionMetric()
        for rows in (slice(0, 6), slice(6, 10), slice(0, 3)):
            metric.process(None, make_samples(scores[rows], targets[rows]))
        expected = MultiLabelRecognitionMetric.calculate(scores[:8], targets[:8])
        assert metric.evaluate(8) == {
            f'multi-label/{k}': v for k, v in expected.items()
        }

    @pytest.mark.parametrize('kind', ['list', 'array', 'mixed', 'double', 'labels'])
    def test_unusual_samples(self, kind):
        """What is not stacked as it is gives the same."""
        scores, targets = make_case(num_images=20, seed=22)
        usual, unusual = (MultiLabelRecognitionMetric() for _ in range(2))
        samples = [s.to_dict() for s in make_samples(scores, targets)]
        usual.process(None, samples)
        changed = [dict(sample) for sample in samples]
        for index, sample in enumerate(changed):
            if kind == 'list':
                sample.update({key: sample[key].tolist() for key in FIELDS})
            elif kind == 'array' or (kind == 'mixed' and index == 13):
                sample.update({key: sample[key].numpy() for key in FIELDS})
            elif kind == 'double' and index == 13:
                sample.update({key: sample[key].double() for key in FIELDS})
            elif kind == 'labels' and index % 2:
                sample['gt_label'] = sample.pop('gt_score').nonzero().flatten()
        unusual.process(None, changed)
        for key, value in usual.results[0].items():
            assert torch.equal(unusual.results[0][key], value)
            assert unusual.results[0][key].dtype == value.dtype

    def test_scores_with_gradient(self):
        metric = MultiLabelRecognitionMetric()
        score = torch.tensor([0.1, 0.9], requires_grad=True)
        metric.process(None, [{'pred_score': score, 'gt_label': torch.tensor([1])}])
        assert not metric.results[0]['scores'].requires_grad

    def test_fewer_samples_than_the_dataset(self, log_records):
        metric = MultiLabelRecognitionMetric()
        metric.process(None, make_samples(*make_case(num_images=4)))
        metric.evaluate(5)
        assert [r.levelno for r in log_records] == [logging.WARNING]
        assert '4 samples of a dataset of 5' in log_records[0].getMessage()
        metric.process(None, make_samples(*make_case(num_images=5)))
        metric.evaluate(5)
        assert len(log_records) == 1

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype):
        scores, targets = make_case(num_images=30, seed=17)
        scores[:, 0] = 0.9  # rounds to less than 0.9 in both types
        low = scores.to(dtype)
        assert (low[:, 0].float() < 0.9).all()
        expected = MultiLabelRecognitionMetric.calculate(low.float(), targets, thr=0.9)
        result = MultiLabelRecognitionMetric.calculate(low, targets, thr=0.9)
        assert result == expected
        metric = MultiLabelRecognitionMetric(thr=0.9)
        result = evaluate(metric, make_samples(low, targets))
        assert result == {f'multi-label/{k}': v for k, v in expected.items()}

    @pytest.mark.parametrize('absent_classes', ['skip', 'zero'])
    def test_classwise(self, absent_classes):
        scores, targets = make_case(num_images=30, num_classes=4, seed=18)
        targets[:, 1] = 0
        classes = ('cat', 'dog', 'traffic light', 'cup')
        metric = MultiLabelRecognitionMetric(
            classwise=True, absent_classes=absent_classes
        )
        result = evaluate(metric, make_samples(scores, targets), classes=classes)
        per_class = {k: v for k, v in result.items() if '/AP/' in k}
        ap = average_precision(scores, targets).nan_to_num(nan=0.0) * 100
        expected = dict(zip((f'multi-label/AP/{c}' for c in classes), ap.tolist()))
        if absent_classes == 'skip':
            del expected['multi-label/AP/dog']
        assert per_class == pytest.approx(expected)
        assert result['multi-label/mAP'] == pytest.approx(
            sum(expected.values()) / len(expected)
        )
        # What LoggerHook and TensorBoard take.
        assert all(type(value) in (int, float) for value in result.values())

    def test_classwise_without_names(self):
        scores, targets = [[0.9, 0.1, 0.3], [0.2, 0.8, 0.4]], [[1, 0, 0], [0, 1, 0]]
        metric = MultiLabelRecognitionMetric(classwise=True)
        result = evaluate(metric, make_samples(scores, targets))
        names = {k for k in result if '/AP/' in k}
        assert names == {'multi-label/AP/0', 'multi-label/AP/1'}

    def test_no_per_class_values_by_default(self):
        result = evaluate(
            MultiLabelRecognitionMetric(),
            make_samples([[0.9, 0.1]], [[1, 0]]),
            classes=('a', 'b'),
        )
        assert not any('AP/' in k for k in result)

    def test_prefix(self):
        metric = MultiLabelRecognitionMetric(prefix='seen')
        result = evaluate(metric, make_samples([[0.9, 0.1]], [[1, 0]]))
        assert all(k.startswith('seen/') for k in result)


class TestErrors:
    @pytest.mark.parametrize(
        ('kwargs', 'match'),
        [
            ({'thr': None}, 'thr must be'),
            ({'thr': '0.5'}, 'thr must be'),
            ({'thr': True}, 'thr must be'),
            ({'thr': math.nan}, 'thr must be'),
            ({'thr': math.inf}, 'thr must be'),
            ({'topk': 0}, 'topk must be'),
            ({'topk': -1}, 'topk must be'),
            ({'topk': 2.0}, 'topk must be'),
            ({'topk': True}, 'topk must be'),
            ({'absent_classes': 'ignore'}, 'absent_classes must be'),
            ({'absent_classes': None}, 'absent_classes must be'),
        ],
    )
    def test_options(self, kwargs, match):
        with pytest.raises(ValueError, match=match):
            MultiLabelRecognitionMetric(**kwargs)
        with pytest.raises(ValueError, match=match):
            MultiLabelRecognitionMetric.calculate([[0.9]], [[1]], **kwargs)

    def test_classwise_option(self):
        with pytest.raises(ValueError, match='classwise must be'):
            MultiLabelRecognitionMetric(classwise='no')

    @pytest.mark.parametrize(
        ('sample', 'match'),
        [
            ({'gt_score': [1, 0, 0]}, 'no pred_score'),
            ({'pred_score': [0.1, 0.2, 0.3]}, 'neither gt_score nor gt_label'),
            (
                {'pred_score': [0.1, math.nan, 0.3], 'gt_score': [1, 0, 0]},
                '1 of 3 .* nan',
            ),
            ({'pred_score': [[0.1, 0.2, 0.3]], 'gt_score': [1, 0, 0]}, r'\(1, 3\)'),
            ({'pred_score': 0.1, 'gt_score': [1]}, r'shape \(K,\), got \(\)'),
            ({'pred_score': [], 'gt_score': []}, r'shape \(K,\), got \(0,\)'),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_score': [1, 0]},
                r'shape \(2,\).*expected \(3,\)',
            ),
            ({'pred_score': [0.1, 0.2], 'gt_score': [1, 0]}, '3 classes .* 2 entries'),
            ({'pred_score': [0.1, 0.2, 0.3], 'gt_score': [2, 0, 0]}, 'hold 2[, ]'),
            ({'pred_score': [0.1, 0.2, 0.3], 'gt_score': [0.5, 0, 1]}, 'hold 0.5[, ]'),
            ({'pred_score': [0.1, 0.2, 0.3], 'gt_score': [math.nan, 0, 1]}, 'nan'),
            ({'pred_score': [0.1, 0.2, 0.3], 'gt_score': [257, 0, 1]}, 'hold 257[, ]'),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_label': [0, 3]},
                'expected indices from 0 to 2',
            ),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_label': [-1]},
                'expected indices from 0 to 2',
            ),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_label': [1, 0, 1]},
                'like a vector with one entry per label',
            ),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_label': [2, 0, 2]},
                'names label 2 twice',
            ),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_label': [1.0]},
                'flat list of integers',
            ),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_label': [True, False]},
                'flat list of integers',
            ),
            (
                {'pred_score': [0.1, 0.2, 0.3], 'gt_label': [[1]]},
                'flat list of integers',
            ),
        ],
    )
    def test_sample(self, sample, match):
        metric = MultiLabelRecognitionMetric()
        metric.dataset_meta = {'classes': ('a', 'b', 'c')}
        with pytest.raises(ValueError, match=match) as error:
            metric.process(None, [dict(sample, img_path='dir/7.jpg')])
        assert 'dir/7.jpg' in str(error.value)
        good = {'pred_score': [0.1, 0.2, 0.3], 'gt_score': [1, 0, 0]}
        with pytest.raises(ValueError, match='sample 1 of the batch'):
            metric.process(None, [good, sample])

    @pytest.mark.parametrize(
        ('field', 'value', 'match'),
        [
            ('pred_score', [0.1, math.nan, 0.3], '1 of 3 scores are nan'),
            ('pred_score', [0.1, 0.2], '2 entries.* but 3 in the samples before'),
            ('pred_score', [[0.1, 0.2, 0.3]], r'shape \(K,\), got \(1, 3\)'),
            ('pred_score', None, 'no pred_score'),
            ('gt_score', [2, 0, 0], 'hold 2[, ]'),
            ('gt_score', [0, -2, 0], 'hold -2[, ]'),
            ('gt_score', [0, 257, 0], 'hold 257[, ]'),
            ('gt_score', [0.5, 0, 1], 'hold 0.5[, ]'),
            ('gt_score', [0, math.nan, 1], 'hold nan[, ]'),
            ('gt_score', [1, 0], r'shape \(2,\).*expected \(3,\)'),
            ('gt_score', None, 'neither gt_score nor gt_label'),
            ('gt_label', [0, 3], 'expected indices from 0 to 2'),
            ('gt_label', [-1], 'expected indices from 0 to 2'),
            ('gt_label', [1, 0, 1], 'like a vector with one entry per label'),
            ('gt_label', [2, 0, 2], 'names label 2 twice'),
            ('gt_label', [1.0], 'flat list of integers'),
            ('gt_label', [True, False], 'flat list of integers'),
            ('gt_label', [[1]], 'flat list of integers'),
            ('gt_label', None, 'neither gt_score nor gt_label'),
        ],
    )
    @pytest.mark.parametrize('position', [0, 2, 4])
    def test_one_sample_of_a_batch(self, field, value, match, position):
        """A batch of tensors is checked as a whole; the error names the image."""
        target = 'gt_label' if field == 'gt_label' else 'gt_score'
        samples = [
            {
                'pred_score': torch.tensor([0.1, 0.2, 0.3]),
                target: torch.tensor([0, 1] if target == 'gt_label' else [1, -1, 0]),
                'img_path': f'dir/{index}.jpg',
            }
            for index in range(5)
        ]
        metric = MultiLabelRecognitionMetric()
        metric.process(None, samples)
        samples[position][field] = None if value is None else torch.tensor(value)
        if value is None:
            del samples[position][field]
        with pytest.raises(ValueError, match=match) as error:
            metric.process(None, samples)
        assert f'dir/{position}.jpg' in str(error.value)
        # Nothing of such a batch is kept.
        assert len(metric.results) == 1

    @pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.float16])
    def test_targets_of_other_types_in_a_batch(self, dtype):
        scores, targets = torch.rand(2, 3), torch.tensor([[255, 1, 0], [0, 0, 1]])
        samples = make_samples(scores, targets.to(dtype))
        with pytest.raises(ValueError, match='hold 255[, .]'):
            MultiLabelRecognitionMetric().process(None, samples)

    def test_unsigned_255_is_not_unknown(self):
        targets = np.array([[255, 1]], dtype=np.uint8)
        with pytest.raises(ValueError, match='hold 255[, ]'):
            average_precision([[0.1, 0.2]], targets)

    def test_img_path_through_the_evaluator(self):
        samples = make_samples([[math.nan, 0.1]], [[1, 0]], img_path=['dir/9.jpg'])
        with pytest.raises(ValueError, match='dir/9.jpg'):
            Evaluator(MultiLabelRecognitionMetric()).process(samples)

    def test_width_changes_between_samples(self):
        metric = MultiLabelRecognitionMetric()
        metric.process(None, [{'pred_score': [0.1, 0.2], 'gt_label': [0]}])
        with pytest.raises(ValueError, match='3 entries .* 2 in the samples before'):
            metric.process(None, [{'pred_score': [0.1, 0.2, 0.3], 'gt_label': [0]}])

    def test_width_of_a_whole_batch(self):
        scores, targets = make_case(num_images=4, num_classes=2)
        samples = make_samples(scores, targets, img_path=[f'{i}.jpg' for i in range(4)])
        metric = MultiLabelRecognitionMetric()
        metric.process(None, make_samples(*make_case(num_classes=3)))
        with pytest.raises(ValueError, match='2 entries .*0.jpg, but 3 in the samples'):
            metric.process(None, samples)
        metric = MultiLabelRecognitionMetric()
        metric.dataset_meta = {'classes': ('a', 'b', 'c')}
        with pytest.raises(ValueError, match='3 classes .* 2 entries .*0.jpg'):
            metric.process(None, samples)

    def test_duplicate_class_names(self):
        metric = MultiLabelRecognitionMetric(classwise=True)
        metric.dataset_meta = {'classes': ('a', 'a')}
        with pytest.raises(ValueError, match='2 different class names'):
            metric.process(None, [{'pred_score': [0.1, 0.2], 'gt_label': [0]}])

    @pytest.mark.parametrize('class_names', [('a',), ('a', 'a'), ('a', 'b', 'c')])
    def test_class_names(self, class_names):
        with pytest.raises(ValueError, match='2 different class names'):
            MultiLabelRecognitionMetric.calculate(
                [[0.1, 0.2]], [[1, 0]], class_names=class_names
            )

    def test_no_sample(self):
        with pytest.raises(ValueError, match='no sample to evaluate'):
            Evaluator(MultiLabelRecognitionMetric()).evaluate(0)

    @pytest.mark.parametrize(
        ('scores', 'targets', 'match'),
        [
            ([0.1, 0.2], [1, 0], r'\(2,\) and \(2,\)'),
            ([[0.1, 0.2]], [[1]], r'\(1, 2\) and \(1, 1\)'),
            ([[]], [[]], 'K > 0'),
            ([[0.1, math.nan]], [[1, 0]], '1 of 2 scores are nan'),
            ([[0.1, 0.2]], [[1, -2]], 'hold -2[, ]'),
        ],
    )
    def test_arrays(self, scores, targets, match):
        for function in (average_precision, MultiLabelRecognitionMetric.calculate):
            with pytest.raises(ValueError, match=match):
                function(scores, targets)

    @pytest.mark.parametrize(
        ('mask', 'targets', 'kwargs', 'match'),
        [
            ([True], [1], {}, 'one shape'),
            ([[True]], [[1, 0]], {}, 'one shape'),
            ([[0.9]], [[1]], {}, 'must be boolean'),
            ([[1]], [[1]], {}, 'must be boolean'),
            ([[True]], [[3]], {}, 'hold 3[, ]'),
            ([[True]], [[1]], {'absent_classes': 'drop'}, 'absent_classes must be'),
        ],
    )
    def test_pred_mask(self, mask, targets, kwargs, match):
        with pytest.raises(ValueError, match=match):
            precision_recall_f1(mask, targets, **kwargs)
