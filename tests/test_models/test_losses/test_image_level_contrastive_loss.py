# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from mlcl_plugin.models.losses.image_embedding_memory import ImageEmbeddingMemory
from mlcl_plugin.models.losses.image_level_contrastive_loss import (
    ImageLevelContrastiveLoss,
    image_level_contrastive_loss,
)

DATA = Path(__file__).parents[2] / 'data' / 'image_level_reference.npz'
CASES = dict(
    any=('any', {}),
    all=('all', {}),
    jaccard=('jaccard', {}),
    threshold0=('threshold', dict(threshold=0)),
    threshold1=('threshold', dict(threshold=1)),
    threshold2=('threshold', dict(threshold=2)),
    threshold2_jaccard=('threshold', dict(threshold=2, jaccard_weights=True)),
    mulsupcon=('mulsupcon', {}),
    mulsupcon_weighted=('mulsupcon', dict(with_weight=True)),
    both=('similarity_dissimilarity', {}),
    similarity=('similarity_dissimilarity', dict(use_dissimilarity=False)),
    dissimilarity=('similarity_dissimilarity', dict(use_similarity=False)),
    inside_log=('similarity_dissimilarity', dict(inside_log=True)),
)
BATCHES = dict(
    no_label_at_all=[[0, 0, 0], [0, 0, 0]],
    one_positive=[[0, 1, 0], [0, 0, 0]],
    one_image=[[1, 1, 0]],
    one_image_without_label=[[0, 0, 0]],
    all_labels_present=[[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    disjoint=[[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]],
    one_label_everywhere=[[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]],
    an_image_without_label=[[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]],
    two_images_without_label=[[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 1]],
    unknown_labels=[[1, -1, 0], [1, 1, -1], [-1, -1, -1], [0, 1, 1], [-1, 0, 0]],
    all_unknown=[[-1, -1, -1], [-1, -1, -1]],
    soft=[[1, 0.5, 0], [1, 1, 0], [0.25, 0.5, 0], [1, 1, 1]],
)


def weight_and_positive(s, t, rule, options):
    """Whether a candidate of labels ``t`` is a positive of ``s``, and its factor."""
    labels = range(len(s))
    shared = [c for c in labels if s[c] == 1 and t[c] == 1]
    only_s = [c for c in labels if s[c] == 1 and 0 <= t[c] < 1]
    only_t = [c for c in labels if 0 <= s[c] < 1 and t[c] == 1]
    size = sum(v == 1 for v in s)
    union = len(shared) + len(only_s) + len(only_t)
    jaccard = len(shared) / union if union else 0.0
    if rule == 'all':
        sure = shared or all(v >= 0 for v in [*s, *t])
        return bool(sure and not only_s and not only_t), 1.0
    if rule == 'threshold':
        if size >= options['threshold']:
            positive = len(shared) > options['threshold']
        elif size:
            positive = bool(shared) and not only_s
        else:
            positive = all(v >= 0 for v in s)
        return positive, jaccard if options.get('jaccard_weights') else 1.0
    factor = 1.0
    if rule == 'jaccard':
        factor = jaccard
    if rule == 'similarity_dissimilarity' and shared:
        if options.get('use_similarity', True):
            factor *= len(shared) / (len(shared) + len(only_s))
        if options.get('use_dissimilarity', True):
            factor /= 1 + len(only_t)
    return bool(shared), factor


def oracle(z, targets, rule, options, temperature, others=(), in_batch=True):
    """The loss from its definition, pair by pair on plain floats.

    ``others`` are pairs of embeddings and targets without an anchor among them.
    """
    anchors = [
        (a, s) for a, s in zip(z.tolist(), targets.tolist()) if any(v >= 0 for v in s)
    ]
    candidates = [(a, s, i) for i, (a, s) in enumerate(anchors)] if in_batch else []
    for vectors, labels in others:
        for vector, label in zip(vectors.tolist(), labels.tolist()):
            if any(v >= 0 for v in label):
                candidates.append((vector, label, None))
    total, num_labels = 0.0, 0
    for i, (a, s) in enumerate(anchors):
        held = [(k, t) for k, t, number in candidates if number != i]
        scores = [math.fsum(x * y for x, y in zip(a, k)) / temperature for k, _ in held]
        if not scores:
            continue
        top = max(scores)
        log_sum = top + math.log(math.fsum(math.exp(x - top) for x in scores))
        crosses = [log_sum - x for x in scores]
        present = [c for c, v in enumerate(s) if v == 1]
        if rule == 'mulsupcon':
            terms = []
            for c in present:
                carriers = [x for x, (_, t) in zip(crosses, held) if t[c] == 1]
                terms.append(sum(carriers) / len(carriers) if carriers else 0.0)
            weighted = options.get('with_weight')
            num_labels += len(present)
            total += sum(terms) / (len(present) or 1) if weighted else sum(terms)
            continue
        pairs = [weight_and_positive(s, t, rule, options) for _, t in held]
        number = sum(positive for positive, _ in pairs)
        for cross, (positive, factor) in zip(crosses, pairs):
            if positive and options.get('inside_log'):
                total += (cross - math.log(factor)) / number
            elif positive:
                total += factor * cross / number
    if rule == 'mulsupcon' and not options.get('with_weight'):
        # Also of anchors that are held against nothing.
        num_labels = sum(v == 1 for _, s in anchors for v in s)
        return total / num_labels if num_labels else 0.0
    return total / len(anchors) if anchors else 0.0


def unit(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)


def draw_targets(number, num_labels, seed, unknown=0.2, soft=0.1, density=0.5):
    generator = torch.Generator().manual_seed(seed + 1000)
    draws = torch.rand(3, number, num_labels, generator=generator, dtype=torch.float64)
    targets = (draws[0] < density).double()
    targets[draws[1] < soft] = 0.5
    targets[draws[2] < unknown] = -1
    return targets


def assert_close(value, expected, tolerance=1e-10):
    assert value.ndim == 0
    assert abs(value.item() - expected) <= tolerance * max(1, abs(expected))


def batch_of(name, seed=0, dtype=torch.float64, dims=5):
    targets = torch.tensor(BATCHES[name], dtype=dtype)
    return unit(len(targets), dims, seed=seed, dtype=dtype), targets


# --- values ---------------------------------------------------------------------


def test_worked_by_hand():
    # Two equal vectors that share label 0 and an orthogonal one of its own: both
    # anchors of label 0 have log(1 + 1 / e), the third has no positive and counts.
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    term = math.log(1 + math.exp(-1))
    for rule, expected in (
        ('any', 2 / 3 * term),
        ('all', 0),
        ('jaccard', 1 / 2 * 2 / 3 * term),
        # Of four labels two have another image.
        ('mulsupcon', 2 / 4 * term),
        # The first misses a half for a surplus label, the second for a missing one.
        ('similarity_dissimilarity', (1 / 2 + 1 / 2) / 3 * term),
    ):
        loss = image_level_contrastive_loss(z, targets, rule, temperature=1.0)
        assert_close(loss, expected)
    weighted = image_level_contrastive_loss(
        z, targets, 'mulsupcon', temperature=1.0, with_weight=True
    )
    assert_close(weighted, (1 + 1 / 2) / 3 * term)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('name', BATCHES)
def test_degenerate_batches(name, case):
    rule, options = CASES[case]
    z, targets = batch_of(name)
    z.requires_grad_()
    memory = unit(3, 5, seed=1), draw_targets(3, targets.size(1), seed=5)
    for temperature, extra in ((0.07, None), (0.5, None), (0.5, memory)):
        loss = image_level_contrastive_loss(
            z, targets, rule, temperature, memory=extra, **options
        )
        others = [] if extra is None else [extra]
        expected = oracle(z.detach(), targets, rule, options, temperature, others)
        assert_close(loss, expected)
        # A zero has a live graph too.
        (grad,) = torch.autograd.grad(loss, z)
        assert grad.isfinite().all()
        if expected == 0:
            assert torch.equal(grad, torch.zeros_like(z))
    if name in ('one_image', 'one_image_without_label', 'all_unknown'):
        assert image_level_contrastive_loss(z, targets, rule, **options).item() == 0


@pytest.mark.parametrize('case', CASES)
def test_random_batches(case):
    rule, options = CASES[case]
    positive = 0
    for seed in range(25):
        number, num_labels = 1 + seed % 7, 1 + seed % 5
        unknown = 0.0 if seed % 3 else 0.3
        z, targets = (
            unit(number, 4, seed=seed),
            draw_targets(number, num_labels, seed, unknown),
        )
        keys = unit(6, 4, seed=seed + 1), draw_targets(6, num_labels, seed + 1, unknown)
        memory = (
            unit(4, 4, seed=seed + 2),
            draw_targets(4, num_labels, seed + 2, unknown),
        )
        temperature = (0.03, 0.1, 1.0)[seed % 3]
        for kwargs, others, in_batch in (
            ({}, [], True),
            (dict(memory=memory), [memory], True),
            (dict(keys=keys[0], key_targets=keys[1]), [keys], False),
            (
                dict(keys=keys[0], key_targets=keys[1], memory=memory),
                [keys, memory],
                False,
            ),
        ):
            loss = image_level_contrastive_loss(
                z, targets, rule, temperature, **kwargs, **options
            )
            expected = oracle(z, targets, rule, options, temperature, others, in_batch)
            assert loss.dtype == torch.float64
            assert_close(loss, expected)
            positive += expected > 0
    assert positive > 20


def test_base_temperature():
    z, targets = batch_of('an_image_without_label')
    plain = image_level_contrastive_loss(z, targets, temperature=0.2)
    scaled = image_level_contrastive_loss(
        z, targets, temperature=0.2, base_temperature=0.05
    )
    assert_close(scaled, 4 * plain.item())


# --- the reference --------------------------------------------------------------


@pytest.fixture(scope='module')
def reference():
    return {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(DATA).items()}


@pytest.mark.parametrize(
    ('group', 'rule'),
    [
        ('supcon_any', 'any'),
        ('supcon_any_base', 'any'),
        ('supcon_jaccard', 'jaccard'),
        ('supcon_threshold1', 'threshold'),
        ('supcon_threshold2', 'threshold'),
        ('supcon_threshold2_jaccard', 'threshold'),
    ],
)
def test_image_level_reference(reference, group, rule):
    values = {
        key.split('/')[1]: value
        for key, value in reference.items()
        if key.startswith(f'{group}/')
    }
    options = {}
    if rule == 'threshold':
        options['threshold'] = int(values['threshold'])
        options['jaccard_weights'] = group.endswith('jaccard')
    z = values['z'].clone().requires_grad_()
    loss = image_level_contrastive_loss(
        z,
        values['labels'],
        rule,
        float(values['temperature']),
        float(values['base_temperature']),
        **options,
    )
    torch.testing.assert_close(loss, values['loss'], rtol=1e-11, atol=1e-12)
    loss.backward()
    torch.testing.assert_close(z.grad, values['grad_z'], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ('group', 'rule', 'options'),
    [
        ('mulsupcon', 'mulsupcon', {}),
        ('mulsupcon_weighted', 'mulsupcon', dict(with_weight=True)),
        ('mulsupcon_all', 'all', {}),
        ('mulsupcon_any', 'any', {}),
    ],
)
@pytest.mark.parametrize('queue_as_memory', [False, True])
def test_mulsupcon_reference(reference, group, rule, options, queue_as_memory):
    q, labels, keys, key_labels, temperature, expected, grad = (
        reference[f'{group}/{name}']
        for name in (
            'q',
            'labels',
            'keys',
            'key_labels',
            'temperature',
            'loss',
            'grad_q',
        )
    )
    own = len(q) if queue_as_memory else len(keys)
    q, keys = q.clone().requires_grad_(), keys.clone().requires_grad_()
    loss = image_level_contrastive_loss(
        q,
        labels,
        rule,
        float(temperature),
        keys=keys[:own],
        key_targets=key_labels[:own],
        memory=(keys[own:], key_labels[own:]),
        **options,
    )
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-12)
    loss.backward()
    torch.testing.assert_close(q.grad, grad, rtol=1e-9, atol=1e-11)
    assert keys.grad is None


# --- the rules ------------------------------------------------------------------


def test_relations_of_similarity_dissimilarity():
    """The five relations of two label sets, one pair at a time."""
    anchor = [1, 1, 1, 0, 0, 0]
    for other, similarity, dissimilarity in (
        ([0, 0, 0, 1, 1, 0], 0, 1),
        ([1, 1, 1, 0, 0, 0], 1, 1),
        ([1, 1, 0, 1, 1, 0], 2 / 3, 1 / 3),
        ([1, 0, 0, 0, 0, 0], 1 / 3, 1),
        ([1, 1, 1, 1, 0, 0], 1, 1 / 2),
    ):
        z = unit(1, 4)
        # The second key shares nothing; it only makes the logarithm more than 0.
        keys = unit(2, 4, seed=1)
        key_targets = torch.tensor([other, [0] * 6])
        pair = (z, torch.tensor([anchor]), 'similarity_dissimilarity', 0.5)
        held = dict(keys=keys, key_targets=key_targets)
        scores = (keys @ z[0] / 0.5).tolist()
        cross = math.log(sum(map(math.exp, scores))) - scores[0]
        for first, second in ((True, True), (True, False), (False, True)):
            factor = (similarity if first else 1) * (dissimilarity if second else 1)
            loss = image_level_contrastive_loss(
                *pair, **held, use_similarity=first, use_dissimilarity=second
            )
            assert_close(loss, factor * cross if similarity else 0)


def test_weight_inside_the_logarithm_has_no_gradient():
    """The literal form: another value, and the gradient of ``any``."""
    targets = draw_targets(9, 4, seed=3, unknown=0, soft=0)
    grads, values = [], []
    for rule, options in (
        ('any', {}),
        ('similarity_dissimilarity', dict(inside_log=True)),
        ('similarity_dissimilarity', {}),
    ):
        z = unit(9, 4).requires_grad_()
        loss = image_level_contrastive_loss(z, targets, rule, **options)
        grads.append(torch.autograd.grad(loss, z)[0])
        values.append(loss.item())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-14)
    assert (grads[0] - grads[2]).norm() > 0.1 * grads[0].norm()
    assert values[2] < values[0] < values[1]


@pytest.mark.parametrize(
    'case', ['all', 'jaccard', 'mulsupcon', 'mulsupcon_weighted', 'both', 'inside_log']
)
def test_one_label_an_image_is_supcon(case):
    rule, options = CASES[case]
    targets = F.one_hot(torch.tensor([0, 1, 0, 2, 1, 0, 3]))
    z = unit(7, 4)
    supcon = image_level_contrastive_loss(z, targets, 'any')
    loss = image_level_contrastive_loss(z, targets, rule, **options)
    assert_close(loss, supcon.item())


def test_switches_off_are_any():
    z, targets = batch_of('an_image_without_label')
    expected = image_level_contrastive_loss(z, targets, 'any').item()
    loss = image_level_contrastive_loss(
        z,
        targets,
        'similarity_dissimilarity',
        use_similarity=False,
        use_dissimilarity=False,
    )
    assert_close(loss, expected)
    # No anchor of the others is affected: more than 0 shared labels is any.
    shared = image_level_contrastive_loss(z, targets, 'threshold', threshold=0)
    assert_close(shared, expected)


@pytest.mark.parametrize('case', CASES)
def test_invariant_to_order(case):
    rule, options = CASES[case]
    z, targets = unit(8, 4), draw_targets(8, 5, seed=2)
    loss = image_level_contrastive_loss(z, targets, rule, **options)
    assert loss > 0
    generator = torch.Generator().manual_seed(0)
    images = torch.randperm(8, generator=generator)
    labels = torch.randperm(5, generator=generator)
    other = image_level_contrastive_loss(
        z[images], targets[images][:, labels], rule, **options
    )
    torch.testing.assert_close(other, loss, rtol=1e-12, atol=0)


# --- unknown labels -------------------------------------------------------------


@pytest.mark.parametrize('case', CASES)
def test_images_without_a_known_label_take_no_part(case):
    rule, options = CASES[case]
    z, targets = unit(8, 4), draw_targets(8, 5, seed=2, unknown=0.2)
    memory = unit(4, 4, seed=1), draw_targets(4, 5, seed=3)
    unknown = torch.full((2, 5), -1.0, dtype=torch.float64)
    extra = unit(2, 4, seed=9).requires_grad_()
    loss = image_level_contrastive_loss(z, targets, rule, memory=memory, **options)
    assert loss > 0
    more = image_level_contrastive_loss(
        torch.cat([extra[:1], z, extra[1:]]),
        torch.cat([unknown[:1], targets, unknown[1:]]),
        rule,
        memory=(torch.cat([memory[0], extra]), torch.cat([memory[1], unknown])),
        **options,
    )
    torch.testing.assert_close(more, loss, rtol=1e-12, atol=0)
    more.backward()
    assert torch.equal(extra.grad, torch.zeros_like(extra))


@pytest.mark.parametrize('case', CASES)
def test_a_label_that_is_unknown_everywhere_does_not_exist(case):
    rule, options = CASES[case]
    if rule == 'all' or rule == 'threshold':
        # Sets without a shared label are compared only where all is known.
        targets = draw_targets(8, 5, seed=2, unknown=0)
        targets[:, 0] = 1
    else:
        targets = draw_targets(8, 5, seed=2)
    z = unit(8, 4)
    loss = image_level_contrastive_loss(z, targets, rule, **options)
    assert loss > 0
    unknown = torch.full((8, 2), -1.0, dtype=torch.float64)
    more = image_level_contrastive_loss(
        z, torch.cat([targets, unknown], dim=1), rule, **options
    )
    torch.testing.assert_close(more, loss, rtol=1e-12, atol=0)


def test_unknown_is_neither_shared_nor_a_difference():
    z, keys = unit(1, 4), unit(2, 4, seed=1)
    scores = (keys @ z[0] / 0.5).tolist()
    cross = math.log(sum(map(math.exp, scores))) - scores[0]

    def factor(rule, anchor, other, **options):
        """How much the first key counts as a positive."""
        filler = [0.5] * len(anchor)
        loss = image_level_contrastive_loss(
            z,
            torch.tensor([anchor], dtype=torch.float64),
            rule,
            0.5,
            keys=keys,
            key_targets=torch.tensor([other, filler], dtype=torch.float64),
            **options,
        )
        return round(loss.item() / cross, 9)

    # Label 0 would be shared, if it were known.
    for rule in ('any', 'jaccard', 'mulsupcon', 'similarity_dissimilarity'):
        assert factor(rule, [1, 0], [-1, 0]) == 0
        assert factor(rule, [-1, 0], [1, 0]) == 0
        assert factor(rule, [-1, 0], [-1, 0]) == 0
    # Label 1 would be missing or in surplus.
    assert factor('all', [1, 1], [1, -1]) == factor('all', [1, -1], [1, 1]) == 1
    assert factor('all', [1, 1], [1, 0]) == factor('all', [1, 0], [1, 1]) == 0
    assert factor('jaccard', [1, 1], [1, -1]) == factor('jaccard', [1, -1], [1, 1]) == 1
    assert factor('jaccard', [1, 1, 0], [1, 0, -1]) == 0.5
    rule = 'similarity_dissimilarity'
    assert factor(rule, [1, 1], [1, -1]) == factor(rule, [1, -1], [1, 1]) == 1
    assert factor(rule, [1, 1], [1, 0]) == factor(rule, [1, 0], [1, 1]) == 0.5
    assert factor('threshold', [1, 1], [1, -1], threshold=3) == 1
    assert factor('threshold', [1, 1], [1, 0], threshold=3) == 0
    # Nothing shared: equal, or a part, only for sure.
    assert factor('all', [0, -1], [0, 1]) == factor('all', [0, -1], [0, -1]) == 0
    assert factor('threshold', [0, -1], [0, 1], threshold=3) == 0
    assert factor('threshold', [1, -1], [-1, 0], threshold=3) == 0
    assert factor('threshold', [0, 0], [0, -1], threshold=3) > 0
    # Soft values are known and not present.
    assert factor('any', [0.9, 0], [1, 0]) == 0
    assert factor('all', [1, 0.9], [1, 1]) == 0
    assert factor('all', [1, 0.9], [1, 0]) == 1


# --- precision and gradients ----------------------------------------------------


@pytest.mark.parametrize('case', CASES)
def test_gradcheck(case):
    rule, options = CASES[case]
    targets = draw_targets(6, 4, seed=2)
    memory = unit(3, 3, seed=1), draw_targets(3, 4, seed=3)
    own = unit(6, 3, seed=5), targets
    for kwargs in (
        dict(memory=memory),
        dict(keys=own[0], key_targets=own[1], memory=memory),
    ):
        z = unit(6, 3).requires_grad_()
        loss = image_level_contrastive_loss(z, targets, rule, 0.3, **kwargs, **options)
        assert torch.autograd.grad(loss, z)[0].any()
        assert torch.autograd.gradcheck(
            lambda z, kwargs=kwargs: image_level_contrastive_loss(
                z, targets, rule, 0.3, **kwargs, **options
            ),
            z,
        )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('case', ['any', 'mulsupcon', 'both'])
def test_half_precision_inputs(case, dtype):
    rule, options = CASES[case]
    targets = draw_targets(8, 5, seed=2).float()
    z = unit(8, 16, dtype=torch.float32).to(dtype).requires_grad_()
    memory = unit(4, 16, seed=1, dtype=torch.float32), draw_targets(4, 5, seed=3)
    loss = image_level_contrastive_loss(
        z, targets.to(dtype), rule, 0.05, memory=memory, **options
    )
    loss.backward()
    assert loss.dtype == torch.float32 and z.grad.dtype == dtype
    # Same as float32 on the rounded values: nothing more is lost inside.
    rounded = z.detach().float().requires_grad_()
    expected = image_level_contrastive_loss(
        rounded, targets, rule, 0.05, memory=memory, **options
    )
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(z.grad, rounded.grad.to(dtype))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('case', ['jaccard', 'mulsupcon'])
def test_autocast(case, dtype):
    """Autocast does not reach into the loss."""
    rule, options = CASES[case]
    targets, results = draw_targets(8, 5, seed=2), []
    for enabled in (False, True):
        z = unit(8, 16, dtype=torch.float32).requires_grad_()
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            loss = image_level_contrastive_loss(z, targets, rule, 0.02, **options)
        loss.backward()
        results.append((loss.detach(), z.grad))
    for plain, cast in zip(*results):
        assert cast.dtype == torch.float32 and cast.isfinite().all()
        assert torch.equal(plain, cast)


@pytest.mark.parametrize('temperature', [1e-30, 1e-3, 0.05, 1.0, 1e3])
def test_temperatures(temperature):
    z, targets = batch_of('an_image_without_label', dtype=torch.float32)
    loss = image_level_contrastive_loss(z, targets, 'any', temperature)
    expected = oracle(z.double(), targets, 'any', {}, temperature)
    assert_close(loss, expected, 1e-5)


def test_nan_is_not_hidden():
    for name in ('an_image_without_label', 'disjoint'):
        z, targets = batch_of(name)
        z[0, 0] = math.nan
        assert image_level_contrastive_loss(z, targets).isnan()


@pytest.mark.parametrize('dtype', [torch.int64, torch.float32, torch.float64])
def test_types_of_targets(dtype):
    z, targets = batch_of('unknown_labels')
    expected = image_level_contrastive_loss(z, targets, 'mulsupcon')
    assert torch.equal(
        image_level_contrastive_loss(z, targets.to(dtype), 'mulsupcon'), expected
    )


def test_an_empty_batch():
    z = torch.zeros(0, 4, requires_grad=True)
    memory = unit(3, 4), draw_targets(3, 5, seed=1)
    for kwargs in (
        {},
        dict(memory=memory),
        dict(keys=z, key_targets=z.new_zeros(0, 5)),
    ):
        for rule, options in CASES.values():
            loss = image_level_contrastive_loss(
                z, torch.zeros(0, 5), rule, **kwargs, **options
            )
            assert loss.item() == 0
            loss.backward()


@pytest.mark.parametrize('case', ['any', 'threshold1', 'mulsupcon', 'both'])
def test_gradient_steps_let_the_loss_fall(case):
    rule, options = CASES[case]
    targets = torch.tensor(
        [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 1, 0]] * 2
    )
    x = unit(10, 4).requires_grad_()
    optimizer = torch.optim.SGD([x], lr=0.3)
    losses = []
    for _ in range(20):
        loss = image_level_contrastive_loss(
            F.normalize(x, dim=1), targets, rule, 0.3, **options
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(b < a for a, b in zip(losses, losses[1:]))
    assert losses[-1] < 0.9 * losses[0]


# --- the module -----------------------------------------------------------------


def test_module():
    z, targets = batch_of('an_image_without_label')
    module = MODELS.build(dict(type='ImageLevelContrastiveLoss'))
    assert_close(module(z, targets), oracle(z, targets, 'any', {}, 0.1))
    module = MODELS.build(
        dict(
            type='ImageLevelContrastiveLoss',
            rule='threshold',
            threshold=1,
            jaccard_weights=True,
            temperature=0.2,
            base_temperature=0.1,
            loss_weight=3.0,
        )
    )
    z, targets = unit(6, 4), draw_targets(6, 5, seed=2)
    options = dict(threshold=1, jaccard_weights=True)
    expected = oracle(z, targets, 'threshold', options, 0.2)
    assert expected > 0
    assert_close(module(z, targets), 3 * 2 * expected)
    assert "rule='threshold', threshold=1, jaccard_weights=True" in repr(module)
    assert not list(module.parameters()) and not module.state_dict()


def stream(number, seed=0):
    for step in range(number):
        yield (
            unit(4, 3, seed=seed + step, dtype=torch.float32),
            draw_targets(4, 5, seed + step).float(),
        )


MEMORY = dict(type='ImageEmbeddingMemory', size=7, embed_dims=3, num_classes=5)


def test_module_with_memory():
    """Earlier batches are further candidates, this one not twice."""
    module = ImageLevelContrastiveLoss('mulsupcon', 0.3, 2.0, memory=MEMORY)
    earlier = torch.zeros(0, 3), torch.zeros(0, 5)
    for z, targets in stream(4):
        z.requires_grad_()
        expected = oracle(z.detach(), targets, 'mulsupcon', {}, 0.3, [earlier])
        assert_close(module(z, targets), 2 * expected, 1e-5)
        known = (targets >= 0).any(1)
        earlier = (
            torch.cat([earlier[0], z.detach()[known]])[-7:],
            torch.cat([earlier[1], targets[known]])[-7:],
        )
    assert not module.memory.read()[0].requires_grad
    assert len(module.memory.read()[0]) == 7

    module.eval()
    before = [x.clone() for x in module.memory.read()]
    module(unit(4, 3).float(), draw_targets(4, 5, seed=9))
    assert all(map(torch.equal, before, module.memory.read()))


@pytest.mark.parametrize('in_batch', [True, False])
def test_module_with_keys(in_batch):
    """Keys are remembered; without in_batch they are what anchors are held against."""
    module = ImageLevelContrastiveLoss('any', 0.3, in_batch=in_batch, memory=MEMORY)
    earlier = torch.zeros(0, 3), torch.zeros(0, 5)
    for step, (z, targets) in enumerate(stream(2, seed=4)):
        keys = unit(4, 3, seed=50 + step, dtype=torch.float32)
        others = [earlier] if in_batch else [(keys, targets), earlier]
        expected = oracle(z, targets, 'any', {}, 0.3, others, in_batch)
        assert_close(module(z, targets, keys=keys), expected, 1e-5)
        earlier = keys, targets
    remembered = module.memory.read()[0].tolist()
    assert len(remembered) == 7 and all(row in remembered for row in keys.tolist())
    if not in_batch:
        with pytest.raises(ValueError, match='in_batch=False.*MomentumClassifier'):
            module(z, targets)


def test_checkpoint_holds_the_memory():
    module = ImageLevelContrastiveLoss(memory=MEMORY)
    for batch in stream(3):
        module(*batch)
    resumed = ImageLevelContrastiveLoss(memory=MEMORY)
    resumed.load_state_dict(module.state_dict())
    batch = unit(4, 3).float(), draw_targets(4, 5, seed=9)
    assert torch.equal(module(*batch), resumed(*batch))
    fresh = ImageLevelContrastiveLoss(memory=MEMORY)
    assert not torch.equal(module(*batch), fresh(*batch))
    assert isinstance(resumed.memory, ImageEmbeddingMemory)


# --- errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rule='some'), "rule must be one of any, all, .*got 'some'"),
        (dict(rule='any', threshold=2), "'any' has no option 'threshold'.*: none"),
        (dict(temperatur=0.1), "'any' has no option 'temperatur'"),
        (
            dict(rule='mulsupcon', inside_log=True),
            "'mulsupcon' has no option 'inside_log'. Its options: with_weight",
        ),
        (dict(rule='threshold'), "'threshold' needs the option 'threshold'"),
        (dict(rule='threshold', threshold=-1), 'threshold must be a number.*got -1'),
        (dict(rule='threshold', threshold=1.5), 'threshold must be a number.*got 1.5'),
        (dict(rule='threshold', threshold=True), 'threshold must be.*got True'),
        (dict(rule='mulsupcon', with_weight=1), 'with_weight must be True or False'),
        (dict(temperature=0), 'temperature must be a positive.*got 0'),
        (dict(temperature=True), 'temperature must be a positive.*got True'),
        (dict(temperature=None), 'temperature must be a positive.*got None'),
        (dict(temperature=math.inf), 'temperature must be a positive.*got inf'),
        (dict(base_temperature=-1.0), 'base_temperature must be a positive.*got -1'),
        (dict(base_temperature=math.nan), 'base_temperature must be.*got nan'),
    ],
)
def test_bad_options(options, message):
    z, targets = batch_of('disjoint')
    with pytest.raises(ValueError, match=message):
        image_level_contrastive_loss(z, targets, **options)
    with pytest.raises(ValueError, match=message):
        ImageLevelContrastiveLoss(**options)


@pytest.mark.parametrize('loss_weight', [-0.1, math.nan, math.inf])
def test_bad_loss_weight(loss_weight):
    with pytest.raises(ValueError, match='loss_weight'):
        ImageLevelContrastiveLoss(loss_weight=loss_weight)


@pytest.mark.parametrize(
    ('shape', 'target_shape'),
    [((4,), (4, 2)), ((4, 3), (4,)), ((4, 3), (3, 2)), ((4, 2, 3), (4, 2))],
)
def test_bad_shapes(shape, target_shape):
    with pytest.raises(ValueError, match=r'embeddings \(B, P\) and targets \(B, L\)'):
        image_level_contrastive_loss(torch.zeros(shape), torch.zeros(target_shape))


@pytest.mark.parametrize('name', ['keys', 'memory'])
@pytest.mark.parametrize(
    ('shape', 'target_shape'),
    [((4,), (4, 2)), ((4, 5), (4, 2)), ((4, 3), (3, 2)), ((4, 3), (4, 5))],
)
def test_bad_keys(name, shape, target_shape):
    others = torch.zeros(shape), torch.zeros(target_shape)
    kwargs = dict(memory=others)
    if name == 'keys':
        kwargs = dict(keys=others[0], key_targets=others[1])
    with pytest.raises(ValueError, match=rf'Expected {name} of \(K, 3\).*\(K, 2\)'):
        image_level_contrastive_loss(torch.zeros(2, 3), torch.zeros(2, 2), **kwargs)


def test_keys_without_targets():
    for kwargs in (
        dict(keys=torch.zeros(2, 3)),
        dict(key_targets=torch.zeros(2, 2)),
    ):
        with pytest.raises(ValueError, match='keys and key_targets come together'):
            image_level_contrastive_loss(torch.zeros(2, 3), torch.zeros(2, 2), **kwargs)


@pytest.mark.parametrize('value', [2, -2, -0.5, math.nan])
def test_bad_targets(value):
    z, targets = batch_of('disjoint')
    wrong = targets.clone()
    wrong[1, 2] = value
    for kwargs in (
        dict(targets=wrong),
        dict(targets=targets, keys=z, key_targets=wrong),
    ):
        with pytest.raises(ValueError, match=f'Targets hold {float(value)}'):
            image_level_contrastive_loss(z, **kwargs)
