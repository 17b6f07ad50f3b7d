# SPDX-License-Identifier: Apache-2.0
import json
import os
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mlcl_plugin.errors import OtherLabelsError
from mlcl_plugin.evaluation import retrieval_within_labels
from mlcl_plugin.inference import label_index
from mlcl_plugin.inference.index_pictures import (
    draw_map,
    draw_prototypes,
    label_prototypes,
    present_vectors,
    reduce_to_plane,
)
from mlcl_plugin.inference.label_index import LabelIndex

CLASSES = ('cat', 'dog', 'owl')
NUMBER, DIMS = 30, 8


def make(number=NUMBER, annotated=True, columns=(0, 1, 2), **changes):
    random = np.random.default_rng(0)
    vectors = random.standard_normal((max(columns) + 1, number, DIMS))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    options = dict(
        embeddings=vectors.astype(np.float16),
        scores=random.random((number, len(CLASSES))).astype(np.float16),
        images=[f'photos/{n}.jpg' for n in range(number)],
        classes=CLASSES,
        columns=columns,
        fingerprint='f',
        targets=random.integers(-1, 2, (number, 3)).astype(np.int8)
        if annotated
        else None,
    )
    return LabelIndex(**(options | changes))


def save(index, folder):
    folder.mkdir()
    np.save(folder / 'embeddings.npy', index.embeddings)
    np.save(folder / 'scores.npy', index.scores)
    if index.targets is not None:
        np.save(folder / 'targets.npy', index.targets)
    index.save_settings(folder)
    return folder


def oracle(index, label, query, number, chosen):
    column = index.columns[CLASSES.index(label)]
    found = []
    for place in chosen:
        vector = index.embeddings[column, place].astype(float)
        vector /= np.linalg.norm(vector)
        found.append((float(vector @ query), place))
    found.sort(key=lambda item: (-item[0], item[1]))
    return found[:number]


def chosen_by_hand(index, label, thr):
    column = CLASSES.index(label)
    chosen = []
    for place in range(len(index.images)):
        known = index.targets is not None and index.targets[place, column] != -1
        if known:
            has = index.targets[place, column] == 1
        else:
            has = index.scores[place, column] >= thr
        if has:
            chosen.append(place)
    return chosen


@pytest.mark.parametrize('annotated', [True, False])
@pytest.mark.parametrize('columns', [(0, 1, 2), (0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize('held', [0, 2**30])
@pytest.mark.parametrize('few', [0, 1.1])
def test_search(annotated, columns, held, few, monkeypatch):
    monkeypatch.setattr(label_index, 'HELD', held)
    monkeypatch.setattr(label_index, 'FEW', few)
    index = make(annotated=annotated, columns=columns)
    random = np.random.default_rng(1)
    for label in (*CLASSES, 'cat'):
        queries = random.standard_normal((2, DIMS))
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        for having in (True, False):
            chosen = range(NUMBER)
            if having:
                chosen = chosen_by_hand(index, label, 0.4)
            chosen = [place for place in chosen if place not in (3, 4)]
            found = index.search(
                label,
                torch.from_numpy(2 * queries),
                5,
                having=having,
                thr=0.4,
                without=[3, 4],
            )
            for query, matches in zip(queries, found):
                expected = oracle(index, label, query, 5, chosen)
                assert [m.place for m in matches] == [place for _, place in expected]
                for match, (similarity, place) in zip(matches, expected):
                    assert match.similarity == pytest.approx(similarity, abs=1e-5)
                    assert match.image == f'photos/{place}.jpg'
                    column = CLASSES.index(label)
                    assert match.score == index.scores[place, column]
                    target = index.targets[place, column] if annotated else None
                    assert match.present == {1: True, 0: False}.get(target)


def test_faiss_agrees():
    pytest.importorskip('faiss')
    index = make(200)
    queries = torch.randn(4, DIMS, generator=torch.Generator().manual_seed(0))
    for options in (dict(), dict(having=False), dict(number=1000), dict(thr=1)):
        own, other = (
            index.search('dog', queries, **(dict(number=7) | options), engine=engine)
            for engine in ('torch', 'faiss')
        )
        for matches, others in zip(own, other):
            assert [m.place for m in matches] == [m.place for m in others]
            assert [m.similarity for m in matches] == pytest.approx(
                [m.similarity for m in others], abs=1e-5
            )


def test_retrieval_is_that_of_the_evaluation():
    """mAP@R from what is found, photograph by photograph."""
    index = make(60)
    own = []
    for column, label in enumerate(CLASSES):
        present = np.flatnonzero(index.targets[:, column] == 1)
        unknown = np.flatnonzero(index.targets[:, column] == -1)
        for place in present:
            (found,) = index.search(
                label,
                index.vectors(label, np.array([place])),
                len(present) - 1,
                having=False,
                without=[place, *unknown],
            )
            hits = np.array([match.present for match in found], dtype=float)
            precision = hits.cumsum() / np.arange(1, len(hits) + 1)
            own.append((column, (hits * precision).mean()))
    means = [np.mean([v for c, v in own if c == column]) for column in range(3)]
    expected = retrieval_within_labels(
        torch.cat([index.vectors(label) for label in CLASSES]),
        torch.arange(3).repeat_interleave(60),
        torch.arange(60).repeat(3),
        torch.from_numpy(index.targets.T.reshape(-1)),
    )
    assert np.mean(means) == pytest.approx(expected.mean_average_precision_at_r)


def test_no_faiss(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'faiss', None)
    with pytest.raises(ImportError, match='pip install faiss-cpu'):
        make().search('dog', torch.ones(1, DIMS), engine='faiss')


def test_like(tmp_path, monkeypatch):
    index = make()
    matches = index.like('photos/7.jpg', 'dog', 4, having=False)
    assert 7 not in [match.place for match in matches] and len(matches) == 4
    query = index.vectors('dog', np.array([7]))
    (expected,) = index.search('dog', query, 4, having=False, without=[7])
    assert matches == expected
    # by any path that leads to it
    monkeypatch.chdir(tmp_path)
    path = os.path.abspath('photos/7.jpg')
    assert make(2, images=[path, 'x']).place('photos/7.jpg') == 0
    assert index.place(path) == 7
    with pytest.raises(ValueError, match='is not in the index of 30'):
        index.like('other.jpg', 'dog')


def test_no_photograph_has_the_label():
    index = make(targets=np.zeros((NUMBER, 3), np.int8))
    assert index.search('dog', torch.ones(1, DIMS)) == [[]]


def test_round_trip(tmp_path):
    index = make(info=dict(a=1), images=[f'ä{n}\ud800' for n in range(NUMBER)])
    loaded = LabelIndex.load(save(index, tmp_path / 'index'))
    for name in ('embeddings', 'scores', 'targets'):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(index, name))
    assert list(loaded.images) == list(index.images)
    assert loaded.classes == CLASSES and loaded.info == dict(a=1)
    assert isinstance(loaded.embeddings, np.memmap)
    folder = save(make(annotated=False), tmp_path / 'other')
    assert LabelIndex.load(folder).targets is None


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(embeddings=np.zeros((3, NUMBER, 2))), 'in float16, got'),
        (dict(embeddings=np.zeros((3, NUMBER), np.float16)), r'must be \(E, N, D\)'),
        (dict(scores=np.zeros((2, 3))), r'scores must be \(30, 3\)'),
        (dict(targets=np.full((NUMBER, 3), 5)), 'targets'),
        (dict(images=['a'] * NUMBER), '1 of them different'),
        (dict(classes=('a', 'b', 3)), 'must be text'),
        (dict(columns=(0, 1)), 'columns must be 3 numbers from 0 to 2'),
        (dict(columns=(0, 1, 3)), 'columns must be 3 numbers from 0 to 2'),
    ],
)
def test_wrong_content(changes, message):
    options = {name: getattr(make(), name) for name in make().__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        LabelIndex(**(options | changes))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(label='cow'), "no label='cow', expected one of"),
        (dict(queries=torch.ones(1, 3)), r'queries must be \(Q, 8\)'),
        (dict(queries=torch.ones(DIMS)), r'queries must be \(Q, 8\)'),
        (dict(engine='x'), 'engine must be one of'),
        (dict(number=0), 'must be positive, got number=0'),
    ],
)
def test_wrong_query(options, message):
    call = dict(label='dog', queries=torch.ones(1, DIMS)) | options
    with pytest.raises(ValueError, match=message):
        make().search(**call)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ('EXPLODED',)


def test_damaged_files(tmp_path, monkeypatch):
    """An index of a stranger runs nothing, and says what is wrong."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='mlcl index build'):
        LabelIndex.load(tmp_path)
    array = np.empty(1, object)
    array[0] = Bomb()

    def spoil(name, content):
        path = tmp_path / name.replace('.', '_') / name
        save(make(), path.parent)
        content(path)
        with pytest.raises(ValueError, match=r'no (part of an )?index|named pipe|form'):
            LabelIndex.load(path.parent)
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()

    def pipe(path):
        path.unlink()
        os.mkfifo(path)

    for name in ('embeddings.npy', 'scores.npy', 'targets.npy'):
        spoil(name, lambda path: np.save(path, array, allow_pickle=True))
        spoil(name, lambda path: path.write_bytes(pickle.dumps(Bomb())))
        spoil(name, lambda path: path.write_bytes(b''))
        spoil(name, lambda path: path.write_bytes(path.read_bytes()[:150]))
        spoil(name, lambda path: np.save(path, np.zeros((2, 2))))
        spoil(name, pipe)
    for name in ('index.json', 'images.json'):
        for text in ('', '[' * 10**5, '{}', '[]', '{"format": 1}', 'null', '[3]'):
            spoil(name, lambda path, text=text: path.write_text(text))
        spoil(name, pipe)
    for key, value in (('format', 2), ('columns', 'abc'), ('classes', [1, 2, 3])):

        def change(path, key=key, value=value):
            path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

        spoil('index.json', change)
    assert not (tmp_path / 'EXPLODED').exists()


def test_other_model():
    index = make()
    index.check_model('f', CLASSES)
    with pytest.raises(OtherLabelsError, match='The index is of the labels'):
        index.check_model('f', ('a', 'b', 'c'))
    with pytest.raises(ValueError, match='made by another model'):
        index.check_model('g', CLASSES)


def test_present_vectors():
    index = make()
    vectors, labels = present_vectors(index, 1000, thr=0.4)
    expected = [
        (label, place)
        for label, name in enumerate(CLASSES)
        for place in chosen_by_hand(index, name, 0.4)
    ]
    assert labels.tolist() == [label for label, _ in expected]
    for vector, (label, place) in zip(vectors, expected):
        own = torch.from_numpy(index.embeddings[label, place]).float()
        torch.testing.assert_close(vector, F.normalize(own, dim=0))
    some, few = present_vectors(index, 10, thr=0.4)
    assert some.shape == (10, DIMS) and (np.diff(few) >= 0).all()


def test_prototypes():
    index = make()
    prototypes, labels = label_prototypes(index, 10, thr=0.4)
    assert labels == [0, 1, 2]
    for label, name in enumerate(CLASSES):
        mean = np.zeros(DIMS)
        for place in chosen_by_hand(index, name, 0.4):
            vector = index.embeddings[label, place].astype(float)
            mean += vector / np.linalg.norm(vector)
        mean /= np.linalg.norm(mean)
        np.testing.assert_allclose(prototypes[label], mean, atol=1e-5)
    counts = [len(chosen_by_hand(index, name, 0.4)) for name in CLASSES]
    _, most = label_prototypes(index, 1, thr=0.4)
    assert most == [int(np.argmax(counts))]


def test_plane():
    vectors = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    points = reduce_to_plane(vectors, 'pca')
    assert points.shape == (12, 2)
    # distances in the plane are those of the first two axes
    centred = (vectors - vectors.mean(0)).double()
    singular = torch.linalg.svdvals(centred)
    np.testing.assert_allclose((points**2).sum(0), singular[:2] ** 2, rtol=1e-6)
    assert reduce_to_plane(vectors[:1], 'pca').shape == (1, 2)
    with pytest.raises(ValueError, match='method must be one of'):
        reduce_to_plane(vectors, 'umap')


def test_tsne_keeps_groups_together():
    pytest.importorskip('sklearn')
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(40) // 20
    vectors = 0.05 * torch.randn(40, 5, generator=generator) + F.one_hot(groups, 5)
    points = torch.from_numpy(reduce_to_plane(vectors)).double()
    centres = torch.stack([points[groups == n].mean(0) for n in (0, 1)])
    assert torch.cdist(points, centres).argmin(1).tolist() == groups.tolist()


def test_one_embedding_for_all_labels():
    index = make(columns=(0, 0, 0))
    for draw in (draw_map, draw_prototypes):
        with pytest.raises(ValueError, match='one embedding for the whole image'):
            draw(index)


def test_nothing_is_present():
    index = make(targets=np.zeros((NUMBER, 3), np.int8))
    for draw in (draw_map, draw_prototypes):
        with pytest.raises(ValueError, match='No label is present in any of 30'):
            draw(index)
