# SPDX-License-Identifier: Apache-2.0
"""Votes of neighbours by plain loops, from the formula, without the code under test."""

import math


def cosine(a, b):
    product = math.fsum(x * y for x, y in zip(a, b))
    lengths = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
    return product / lengths if lengths else 0.0


def votes(queries, keys, targets, temperature, k=None, counts=None, scale=None):
    """Probability of present, ``[image][label]``; nan without a known entry.

    ``queries`` are ``[image][label][dim]``, ``keys`` ``[label][entry][dim]``, and
    ``targets`` ``[label][entry]``. With ``scale``, the product of two vectors
    divided by it is taken for their cosine.
    """
    result = []
    for of_image in queries:
        row = []
        for label, of_label in enumerate(targets):
            known = []
            for entry, target in enumerate(of_label):
                if target == -1:
                    continue
                pair = of_image[label], keys[label][entry]
                if scale is None:
                    value = cosine(*pair)
                else:
                    value = sum(a * b for a, b in zip(*pair)) / scale
                count = 1 if counts is None else counts[label][entry]
                known.append((value, target, count))
            # The nearest first; of equally near ones, those that are present.
            known.sort(key=lambda item: (-item[0], -item[1]))
            nearest = known if k is None else known[:k]
            weights = [c * math.exp(value / temperature) for value, _, c in nearest]
            present = [w for w, (_, target, _) in zip(weights, nearest) if target == 1]
            total = math.fsum(weights)
            row.append(math.fsum(present) / total if total else math.nan)
        result.append(row)
    return result
