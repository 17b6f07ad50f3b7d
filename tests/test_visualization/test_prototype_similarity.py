# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.visualization.prototype_similarity import (
    chain_order,
    prototype_similarity,
)


def cosines(number):
    vectors = np.random.default_rng(0).standard_normal((number, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


@pytest.mark.parametrize('number', [1, 2, 3, 9, 80])
def test_all_labels_in_a_chain(number):
    similarity = cosines(number)
    order = chain_order(similarity)
    assert sorted(order) == list(range(number))
    if number > 8:
        # more alike than in the order of their numbers
        shuffled = np.mean(similarity[range(number - 1), range(1, number)])
        assert np.mean(similarity[order[:-1], order[1:]]) > shuffled + 0.2


@pytest.mark.parametrize('number', [1, 2, 10])
def test_picture(number, tmp_path):
    names = [f'$label number {n} with a long name' for n in range(number)]
    similarity = cosines(number)
    figure = prototype_similarity(similarity, names, 'A $title', 'a note ' * 20)
    figure.savefig(tmp_path / 'prototypes.png')
    ax = figure.axes[0]
    shown = ax.images[0].get_array()
    order = chain_order(similarity)
    for row, label in enumerate(order):
        assert ax.get_yticklabels()[row].get_text().startswith(names[label][:12])
        for column, other in enumerate(order):
            if row != column:
                assert shown[row, column] == similarity[label, other]
    assert shown.mask.diagonal().all()


def test_names_of_eighty_labels_do_not_overlap():
    figure = prototype_similarity(cosines(80), ['label'] * 80, '')
    figure.draw_without_rendering()
    places = [
        label.get_window_extent().y0 for label in figure.axes[0].get_yticklabels()
    ]
    height = figure.axes[0].get_yticklabels()[0].get_window_extent().height
    assert min(np.abs(np.diff(places))) >= 0.8 * height


@pytest.mark.parametrize(('shape', 'number'), [((2, 3), 2), ((2, 2), 3), ((0, 0), 0)])
def test_errors(shape, number):
    with pytest.raises(ValueError, match='similarity must be'):
        prototype_similarity(np.zeros(shape), ['a'] * number, '')
