# SPDX-License-Identifier: Apache-2.0
import contextlib
import math
import pickle
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from mlcl_plugin.evaluation.metrics.dump_scores import DumpScores
from mlcl_plugin.evaluation.score_dump import ScoreDump

CLASSES = ('a,b', ' space', '"quoted"', 'line\nbreak', 'Käuzchen 🦉', 'NA', '1')
IMAGES = ('NA', 'null', 'a "b".jpg', 'c,d.jpg', '/x y/ü.jpg', '007')


def make_dump(seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.random((len(IMAGES), len(CLASSES))).astype(np.float32)
    # numbers whose neighbours are hard to tell from them in text
    scores[0, :4] = 0, 1, 1 - 2**-24, 1e-45
    targets = rng.integers(-1, 2, scores.shape)
    return ScoreDump(scores, targets, CLASSES, IMAGES)


def assert_same(dump, other):
    assert dump.scores.dtype == np.float32 and dump.targets.dtype == np.int8
    assert dump.classes == other.classes and dump.images == other.images
    assert (dump.scores == other.scores).all()
    assert (dump.targets == other.targets).all()


@pytest.mark.parametrize('suffix', ['.pkl', '.csv', '.parquet'])
def test_round_trip(tmp_path, suffix):
    dump = make_dump()
    path = tmp_path / 'new folder' / f'scores{suffix}'
    dump.save(path)
    assert_same(ScoreDump.load(path), dump)
    assert_same(ScoreDump.load(path, list(CLASSES)), dump)


names = st.text(
    st.characters(exclude_categories=['Cs'], exclude_characters='\0\r'), max_size=8
)
floats = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=30)
@given(
    classes=st.lists(names, min_size=1, max_size=4, unique=True),
    images=st.lists(names, min_size=1, max_size=4, unique=True),
    data=st.data(),
)
def test_any_names_and_scores(tmp_path_factory, classes, images, data):
    shape = (len(images), len(classes))
    size = math.prod(shape)
    scores = data.draw(st.lists(floats, min_size=size, max_size=size))
    targets = data.draw(
        st.lists(st.sampled_from([1, 0, -1]), min_size=size, max_size=size)
    )
    dump = ScoreDump(
        np.reshape(scores, shape), np.reshape(targets, shape), classes, images
    )
    folder = tmp_path_factory.mktemp('any')
    for suffix in ('.csv', '.parquet'):
        dump.save(folder / f'scores{suffix}')
        assert_same(ScoreDump.load(folder / f'scores{suffix}'), dump)


@pytest.mark.parametrize('suffix', ['.csv', '.parquet'])
def test_names_that_are_no_text(tmp_path, suffix):
    """Nothing is lost for the sake of a name."""
    dump = ScoreDump([[0.5]], [[1]], ['a'], ['caf\udce9.jpg'])
    dump.save(tmp_path / f'scores{suffix}')
    loaded = ScoreDump.load(tmp_path / f'scores{suffix}')
    assert loaded.images == (r'caf\udce9.jpg',) and loaded.scores.tolist() == [[0.5]]


def test_table_form(tmp_path):
    dump = ScoreDump([[0.25, 1], [0, 0.5]], [[1, -1], [0, 1]], 'ab', ['x.jpg', 'y.jpg'])
    dump.save(tmp_path / 'scores.csv')
    assert (tmp_path / 'scores.csv').read_text() == (
        'image,score:a,score:b,target:a,target:b\nx.jpg,0.25,1,1,\ny.jpg,0,0.5,0,1\n'
    )
    dump.save(tmp_path / 'scores.parquet')
    table = pd.read_parquet(tmp_path / 'scores.parquet')
    assert table.dtypes.astype(str).tolist()[1:] == ['float32'] * 2 + ['Int8'] * 2
    assert table['target:b'].isna().tolist() == [True, False]


def test_table_of_somebody_else(tmp_path):
    """Columns in another order, others between them, and a byte order mark."""
    path = tmp_path / 'scores.csv'
    path.write_text(
        'target:b,score:b,image,note,score:a,target:a\r\n1,0.5,x,hm,0.1,\r\n',
        encoding='utf-8-sig',
        newline='',
    )
    dump = ScoreDump.load(path)
    assert dump.classes == ('b', 'a') and dump.images == ('x',)
    assert dump.scores.tolist() == [[0.5, np.float32(0.1)]]
    assert dump.targets.tolist() == [[1, -1]]


def evaluate(path, classes=CLASSES[:3], labels=False, batch_size=4):
    """Let the metric write scores of five images, in batches."""
    metric = DumpScores(str(path))
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = {} if classes is None else {'classes': classes}
    scores = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 0, -1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, -1, 1]])
    if labels:
        targets = targets.clamp(min=0)
    samples = []
    for i, (score, target) in enumerate(zip(scores, targets)):
        sample = DataSample(metainfo=dict(img_path=f'{i}.jpg'), extra=torch.ones(2))
        sample.set_pred_score(score)
        if labels:
            sample.set_gt_label(target.nonzero()[:, 0])
        else:
            sample.set_gt_score(target.float())
        samples.append(sample)
    for start in range(0, 5, batch_size):
        evaluator.process(samples[start : start + batch_size])
    evaluator.evaluate(5)
    return ScoreDump(scores, targets, classes or '012', [f'{i}.jpg' for i in range(5)])


@pytest.mark.parametrize('labels', [False, True])
@pytest.mark.parametrize('suffix', ['.pkl', '.csv', '.parquet'])
def test_written_by_the_metric(tmp_path, suffix, labels):
    path = tmp_path / 'new folder' / f'scores{suffix}'
    expected = evaluate(path, labels=labels)
    assert_same(ScoreDump.load(path), expected)


def test_pickle_is_that_of_dump_results(tmp_path):
    path = tmp_path / 'scores.pkl'
    evaluate(path)
    samples = pickle.loads(path.read_bytes())
    assert len(samples) == 5 and samples[3]['img_path'] == '3.jpg'
    assert samples[0]['extra'].tolist() == [1, 1]
    # a row alone, not with the batch that it is a view of
    assert samples[0]['pred_score'].untyped_storage().nbytes() == 12


def test_names_for_a_pickle_without(tmp_path):
    path = tmp_path / 'scores.pkl'
    expected = evaluate(path, classes=None)
    with pytest.raises(ValueError, match=r'names of labels.*classes=FILE'):
        ScoreDump.load(path)
    names = tmp_path / 'names.txt'
    names.write_text('0\n1\n2\n')
    for classes in (['0', '1', '2'], names):
        assert_same(ScoreDump.load(path, classes), expected)
    with pytest.raises(ValueError, match='2 classes but pred_score has 3'):
        ScoreDump.load(path, ['0', '1'])
    with pytest.raises(
        FileNotFoundError, match="no file '.*gone.txt' with one class name"
    ):
        ScoreDump.load(path, tmp_path / 'gone.txt')


def test_table_without_names(tmp_path):
    with pytest.raises(ValueError, match=r"scores.csv needs names.*'classes'"):
        evaluate(tmp_path / 'scores.csv', classes=None)
    with pytest.raises(ValueError, match=r'must end with one of .*got scores.txt'):
        DumpScores('scores.txt')


def test_without_image_names():
    samples = [dict(pred_score=torch.rand(2), gt_score=torch.ones(2))] * 2
    assert ScoreDump.from_samples(samples, 'ab').images == ('#0', '#1')
    with pytest.raises(ValueError, match='no image'):
        ScoreDump.from_samples([], 'ab')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(scores=np.zeros((6, 3))), r'got \(6, 3\) and \(6, 7\)'),
        (dict(targets=np.full((6, 7), 2)), r"hold 2 for 'a,b' of NA"),
        (dict(classes=['a'] * 7), r"twice came \['a'\]"),
        (dict(classes=range(7)), 'classes must be strings'),
        (dict(images=[]), 'at least one of each'),
    ],
)
def test_bad_dump(changes, message):
    dump = make_dump()
    fields = dict(
        scores=dump.scores, targets=dump.targets, classes=CLASSES, images=IMAGES
    )
    with pytest.raises(ValueError, match=message):
        ScoreDump(**{**fields, **changes})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('image,score:a\nx,0.5\n', r"with one of both: \['a'\]"),
        ('score:a,target:a\n0.5,1\n', "expected the columns 'image'"),
        ('', "expected the columns 'image'"),
        ('image,score:a,score:a,target:a\nx,1,1,1\n', r"come twice: \['score:a'\]"),
        ('image,score:a,target:a\n', 'at least one of each'),
        ('image,score:a,target:a\nx,,1\n', "1 scores are missing or nan.*'a' of x"),
        ('image,score:a,target:a\nx,high,1\n', 'high'),
        ('image,score:a,target:a\nx,0.5,2\n', r"hold 2.0 for 'a' of x"),
        ('image,score:a,target:a\nx,0.5,1,\n', 'row 2 has 4 fields, expected 3'),
        ('image,score:a,target:a\nx,1,1\ny,1\n', 'row 3 has 2 fields, expected 3'),
    ],
)
def test_bad_tables(tmp_path, text, message):
    path = tmp_path / 'scores.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'(?s)scores.csv is no score.*{message}'):
        ScoreDump.load(path)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='no score dump .*gone.csv'):
        ScoreDump.load(tmp_path / 'gone.csv')
    with pytest.raises(ValueError, match='ends with one of'):
        ScoreDump.load(tmp_path / 'scores.json')
    with pytest.raises(ValueError, match='ends with one of'):
        make_dump().save(tmp_path / 'scores.json')
    (tmp_path / 'metrics.pkl').write_bytes(pickle.dumps(dict(mAP=50)))
    with pytest.raises(ValueError, match='metrics.pkl .*list of dicts, got dict'):
        ScoreDump.load(tmp_path / 'metrics.pkl')
    sample = dict(pred_score=['high'], gt_score=[1])
    (tmp_path / 'words.pkl').write_bytes(pickle.dumps([sample]))
    with pytest.raises(ValueError, match='words.pkl is no score dump'):
        ScoreDump.load(tmp_path / 'words.pkl', ['a'])
    for suffix in ('.pkl', '.parquet'):
        path = tmp_path / f'broken{suffix}'
        path.write_bytes(b'broken')
        with pytest.raises(ValueError, match='broken.* is no score dump'):
            ScoreDump.load(path)
    make_dump().save(tmp_path / 'scores.csv')
    with pytest.raises(ValueError, match=r"csv has the labels.*expected \['a'\]"):
        ScoreDump.load(tmp_path / 'scores.csv', ['a'])


@pytest.mark.parametrize('suffix', ['.csv', '.parquet', '.pkl'])
def test_image_twice(tmp_path, suffix):
    path = tmp_path / f'scores{suffix}'
    images = ['a.jpg', 'b.jpg', 'a.jpg', 'a.jpg']
    ScoreDump(np.full((4, 1), 0.5), np.ones((4, 1)), ['cat'], images).save(path)
    message = r"several times, such as 'a.jpg' \(1 images in all\).* Keep one row"
    with pytest.raises(ValueError, match=message):
        ScoreDump.load(path)


def test_damaged_parquet(tmp_path):
    """A value, or an error that names the file."""
    path = tmp_path / 'scores.parquet'
    images = [f'{i}.jpg' for i in range(50)]
    rng = np.random.default_rng(0)
    dump = ScoreDump(rng.random((50, 3)), np.ones((50, 3)), ['a', 'b', 'c'], images)
    dump.save(path)
    content = path.read_bytes()
    for _ in range(150):
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 6):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(ValueError):
            ScoreDump.load(path)
    for end in (0, 4, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match='scores.parquet is no score dump'):
            ScoreDump.load(path)


def test_ten_thousand_labels_twice():
    """Names are counted in time that does not grow with their square."""
    names = [f'label {i}' for i in range(10_000)] * 2
    start = time.process_time()
    with pytest.raises(ValueError, match=r"twice came \['label 0', .*10,000 in all"):
        ScoreDump(np.zeros((1, 20_000)), np.zeros((1, 20_000)), names, ['a.jpg'])
    assert time.process_time() - start < 1


def test_ten_thousand_labels_as_text(tmp_path):
    names = [f'label {i}' for i in range(10_000)]
    scores = np.random.default_rng(0).random((10, 10_000), dtype=np.float32)
    dump = ScoreDump(scores, np.zeros(scores.shape), names, [str(i) for i in range(10)])
    start = time.process_time()
    dump.save(tmp_path / 'scores.csv')
    assert time.process_time() - start < 2
    assert_same(ScoreDump.load(tmp_path / 'scores.csv'), dump)
