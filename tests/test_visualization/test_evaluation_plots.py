# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from sklearn.metrics import precision_recall_curve

from mlcl_plugin.evaluation.calibration import expected_calibration_error, reliability
from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.reports.label_report import label_report
from mlcl_plugin.visualization import precision_recall_plot as module
from mlcl_plugin.visualization.precision_recall_plot import precision_recall_plot
from mlcl_plugin.visualization.reliability_plot import reliability_plot


def make_dump(num_labels=4, num_images=120, seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_images, num_labels)) < 0.3).astype(int)
    scores = np.round(0.6 * rng.random(targets.shape) + 0.4 * targets, 2)
    names = [f'a rather long name, ${i}_x' for i in range(num_labels)]
    return ScoreDump(scores, targets, names, [str(i) for i in range(num_images)])


def report(dump):
    return label_report(dump, Decisions.uniform(dump.classes, 0.5))


def drawn(figure):
    """The figure as pixels, which raises what drawing raises."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text)]


def test_curves():
    dumps = {'one': make_dump(), 'two': make_dump(seed=1)}
    dumps['two'] = ScoreDump(
        dumps['two'].scores, dumps['one'].targets, dumps['one'].classes, '0' * 120
    )
    reports = {name: report(dump) for name, dump in dumps.items()}
    figure = precision_recall_plot(dumps, reports)
    assert (drawn(figure) != 255).any() and len(figure.axes) == 4
    order = np.argsort([row['AP'] for row in reports['one']])
    for ax, label in zip(figure.axes, order):
        row = reports['one'][label]
        assert f'{100 * row["AP"]:.0f}' == ax.get_title(loc='left').split()[-1]
        curves, dots = ax.lines[::2], ax.lines[1::2]
        for curve, dot, name in zip(curves, dots, dumps):
            dump, own = dumps[name], reports[name][label]
            precision, recall, _ = precision_recall_curve(
                dump.targets[:, label], dump.scores[:, label]
            )
            np.testing.assert_allclose(curve.get_xdata()[1:], recall[:-1][::-1])
            np.testing.assert_allclose(curve.get_ydata()[1:], precision[:-1][::-1])
            assert dot.get_xdata()[0] == own['recall']
            assert dot.get_ydata()[0] == own['precision']
    assert {'one', 'two'} <= set(texts(figure))


def test_panels_do_not_overlap():
    for number in (1, 12, 31):
        dump = make_dump(number, 30)
        figure = precision_recall_plot({'x': dump}, {'x': report(dump)})
        boxes = [ax.get_window_extent() for ax in figure.axes]
        for i, box in enumerate(boxes):
            assert box.x0 > 0 and box.y0 > 0 and box.width > 80
            assert not any(box.overlaps(other) for other in boxes[:i])


def test_many_labels_and_labels_without_a_curve(monkeypatch):
    monkeypatch.setattr(module, 'MAX_LABELS', 5)
    dump = make_dump(9, 30)
    targets = dump.targets.copy()
    targets[:, :2] = 0
    dump = ScoreDump(dump.scores, targets, dump.classes, dump.images)
    figure = precision_recall_plot({'x': dump}, {'x': report(dump)})
    assert len(figure.axes) == 5
    assert any('5 of 9 labels' in text for text in texts(figure))
    nothing = ScoreDump(dump.scores, targets * 0, dump.classes, dump.images)
    with pytest.raises(ValueError, match='No label has an image'):
        precision_recall_plot({'x': nothing}, {'x': report(nothing)})
    with pytest.raises(ValueError, match='1 to 6 dumps, got 0'):
        precision_recall_plot({}, {})


@pytest.mark.parametrize('num_labels', [1, 4, 45])
def test_reliability(num_labels):
    dump = make_dump(num_labels)
    targets = dump.targets.copy()
    if num_labels > 1:
        targets[:, 0] = -1
    after = np.clip(dump.scores * 1.2, 0, 1)
    curves, errors = {}, {}
    for key, scores in (('before', dump.scores), ('after', after)):
        curves[key] = reliability(scores, targets)
        errors[key] = expected_calibration_error(scores, targets, per_label=True)
    figure = reliability_plot(curves, errors, dump.classes, 'A title with $ in it')
    assert (drawn(figure) != 255).any()
    curve, counts, labels = figure.axes
    (line, *_), *_ = curve.containers
    held = curves['before'].count > 0
    np.testing.assert_allclose(line.get_xdata(), curves['before'].score[held])
    np.testing.assert_allclose(line.get_ydata(), curves['before'].present[held])
    shown = [text.get_text() for text in labels.get_yticklabels()]
    order = np.argsort(-np.nan_to_num(errors['before'], nan=-1))
    expected = [dump.classes[label] for label in order][: max(num_labels - 1, 1)][:40]
    assert shown == expected
    # before alone
    drawn(
        reliability_plot(
            {'before': curves['before']},
            {'before': errors['before']},
            dump.classes,
            'title',
        )
    )
