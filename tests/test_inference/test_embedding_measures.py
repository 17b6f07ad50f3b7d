# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from mlcl_plugin.inference.embedding_measures import few_shot, linear_probe


def separable(shift, number=60, dims=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(number) % 3 // 2
    embeddings = torch.randn(number, dims, generator=generator)
    embeddings[:, 1] += shift * targets
    train = torch.rand(number, generator=generator) < 0.5
    return F.normalize(embeddings, dim=1), targets, train


def test_linear_probe():
    embeddings, targets, train = separable(shift=1.5)
    value = linear_probe(embeddings, targets, train)
    x = embeddings.numpy()
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    probe = LogisticRegression(max_iter=1000).fit(x[train], targets[train])
    scores = probe.decision_function(x[~train])
    expected = average_precision_score(targets[~train], scores)
    assert value == pytest.approx(expected, abs=1e-6) and 0.5 < value < 1

    # unknown ones are neither learned from nor scored
    unknown = torch.rand(60, generator=torch.Generator().manual_seed(1)) < 0.3
    known = ~unknown
    hidden = targets.masked_fill(unknown, -1)
    assert linear_probe(embeddings, hidden, train) == pytest.approx(
        linear_probe(embeddings[known], targets[known], train[known])
    )
    for value in (0, 1):
        one_sided = targets.masked_fill(train, value)
        assert math.isnan(linear_probe(embeddings, one_sided, train))
    never = targets.masked_fill(~train, 0)
    assert math.isnan(linear_probe(embeddings, never, train))


def test_few_shot():
    embeddings, targets, train = separable(shift=2.5)
    generator = torch.Generator().manual_seed(0)
    # as many as there are: nothing is left to chance
    number = int(targets[train].sum())
    few = train & (targets == 1)
    absent = (train & (targets == 0)).nonzero()[:, 0]
    train[absent[number:]] = False
    own = train & (targets == 0)
    value = few_shot(embeddings, targets, train, number, generator)
    distances = [
        torch.cdist(embeddings[~train], embeddings[x].mean(dim=0)[None])[:, 0]
        for x in (few, own)
    ]
    scores = distances[1].square() - distances[0].square()
    expected = average_precision_score(targets[~train], scores)
    assert value == pytest.approx(expected) and 0.5 < value < 1
    assert math.isnan(few_shot(embeddings, targets, train, number + 1, generator))
    # few tell less than many
    draws = [few_shot(embeddings, targets, train, 1, generator) for _ in range(30)]
    assert len(set(draws)) > 5 and np.mean(draws) < value
