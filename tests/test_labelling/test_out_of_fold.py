# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import torch

from mlcl_plugin.labelling.out_of_fold import (
    image_vectors,
    make_logistic,
    out_of_fold,
    pool_features,
)
from mlcl_plugin.models.neighbours import ImageNeighbours


def test_neighbours_of_other_folds_alone_vote():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(12, 1, 5, generator=generator)
    targets = np.array([[1, 0], [0, -1]] * 6, np.int8)
    fold = np.arange(12) % 3
    found = out_of_fold(ImageNeighbours(temperature=0.5), vectors, targets, fold)
    unit = torch.nn.functional.normalize(vectors[:, 0], dim=1).double()
    for image in range(12):
        total = present = 0.0
        for other in range(12):
            if fold[other] == fold[image]:
                continue
            weight = math.exp(float(unit[image] @ unit[other]) / 0.5)
            total += weight
            present += weight * (targets[other, 0] == 1)
        assert math.isclose(found[image, 0], present / total, abs_tol=1e-3)
    # No image of the second label is present.
    assert np.isnan(found[:, 1]).all()


def test_a_regression_does_not_see_the_image():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(30, 1, 4, generator=generator)
    targets = (vectors[:, 0, :2] > 0).numpy().astype(np.int8)
    fold = np.arange(30) % 3
    member = make_logistic(dict(type='PooledLogistic', strength=1.0))
    found = out_of_fold(member, vectors, targets, fold)
    assert ((found > 0.5) == targets).mean() > 0.8
    changed = targets.copy()
    changed[fold == 1] = 1 - changed[fold == 1]
    again = out_of_fold(member, vectors, changed, fold)
    np.testing.assert_array_equal(again[fold == 1], found[fold == 1])
    assert (again[fold == 0] != found[fold == 0]).all()


def test_vectors_of_stored_features(tmp_path):
    maps = np.random.default_rng(0).random((3, 2, 4, 5, 5)).astype(np.float16)
    path = str(tmp_path / 'tune.npy')
    np.save(path, maps)
    expected = maps[:, 0].astype(np.float32).mean((2, 3))
    np.testing.assert_allclose(image_vectors(path)[:, 0].numpy(), expected, rtol=1e-4)
    member = make_logistic(dict(type='PooledLogistic', regions=0.7))
    vectors = pool_features(path, member)
    assert vectors.shape == (3, 5, 8) and vectors.dtype == torch.float16
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[:, 0, :4].numpy(), unit, atol=1e-3)
