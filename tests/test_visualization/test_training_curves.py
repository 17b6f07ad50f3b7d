# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from mlcl_plugin.visualization.training_curves import (
    LEAST_SPREAD,
    panel_figure,
    read_training,
    training_figure,
)


def loss_rows(part, epochs, length, **losses):
    """A row in the middle and at the end of each epoch."""
    rows = []
    for epoch in range(1, epochs + 1):
        for done in (length // 2, length):
            place = (epoch - 1) * length + done
            rows.append(dict(part=part, epoch=epoch, iter=place, loss=9.0, **losses))
        rows.append({'part': part, 'step': epoch, 'multi-label/mAP': 50.0 + epoch})
    return rows


@pytest.fixture
def two_steps():
    return loss_rows('step1', 3, 10, loss_cls=1.0) + loss_rows(
        'step2', 2, 20, loss_cls=0.5, loss_contrastive=2.0
    )


def test_panels(two_steps):
    training = read_training(two_steps)
    assert training.ends == dict(step1=3, step2=5)
    first, second, third = training.panels
    assert first.title == 'Classification loss'
    assert [x for x, _ in first.curves['step1']] == [0.5, 1, 1.5, 2, 2.5, 3]
    # step 2 begins where step 1 ends, and has other epochs
    assert [x for x, _ in first.curves['step2']] == [3.5, 4, 4.5, 5]
    assert second.title == 'Contrastive loss' and list(second.curves) == ['step2']
    assert third.title == 'Validation mAP (%)'
    assert third.curves == dict(
        step1=[(1, 51), (2, 52), (3, 53)], step2=[(4, 51), (5, 52)]
    )
    assert third.describe() == (
        'Validation mAP (%): in step1 from 51 to 53, in step2 from 51 to 52.'
    )


def test_the_loss_itself_where_it_has_no_parts():
    rows = [dict(part='', epoch=1, iter=2, loss=3.0)]
    (panel,) = read_training(rows).panels
    assert (panel.title, panel.curves) == ('Loss', {'': [(1.0, 3.0)]})


def test_what_is_no_number_is_left_out():
    rows = [
        dict(part='a', epoch=1, iter=1, loss_cls=math.nan),
        dict(part='a', epoch=1, iter=2, loss_cls='x'),
        dict(part='a', epoch=1, iter=3, loss_cls=1.0),
    ]
    (panel,) = read_training(rows).panels
    assert panel.curves == dict(a=[(1.0, 1.0)])


def test_nothing_to_draw():
    assert read_training([]).panels == []
    with pytest.raises(ValueError, match='neither a loss nor a validation'):
        training_figure(read_training([dict(part='a', iter=1, epoch=1)]))


def test_figure(two_steps, tmp_path):
    figure = training_figure(read_training(two_steps), 'A $title')
    figure.savefig(tmp_path / 'curves.png')
    assert [ax.get_title(loc='left') for ax in figure.axes] == [
        'Classification loss',
        'Contrastive loss',
        'Validation mAP (%)',
    ]
    for ax in figure.axes:
        borders = [line for line in ax.lines if line.get_linestyle() == '--']
        assert [line.get_xdata()[0] for line in borders] == [3]
        assert [text.get_text() for text in ax.texts] == ['step1', 'step2']


def test_one_step_has_no_border(tmp_path):
    training = read_training(loss_rows('', 2, 4, loss_cls=1.0))
    (ax,) = panel_figure(training.panels[0], training.ends).axes
    assert len(ax.lines) == 1 and len(ax.texts) == 0


def test_chance_does_not_fill_the_panel():
    rows = [{'part': '', 'step': n, 'x/mAP': 80 + n / 100} for n in (1, 2)]
    training = read_training(rows)
    low, high = panel_figure(training.panels[0], training.ends).axes[0].get_ylim()
    assert high - low == pytest.approx(LEAST_SPREAD)
