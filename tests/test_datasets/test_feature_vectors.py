# SPDX-License-Identifier: Apache-2.0
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS, MODELS

from mlcl_plugin.datasets.feature_vectors import FeatureVectors

TRAIN_LABELS = [[1, 0, 1], [0, 0, 0], [1, -1, 0], [-1, 1, 1]]
TEST_LABELS = [[0, 1, 0], [1, 1, 1]]


def arrays():
    rng = np.random.default_rng(0)
    return dict(
        train_features=rng.normal(5, 2, (4, 6)),
        train_labels=np.array(TRAIN_LABELS),
        test_features=rng.normal(5, 2, (2, 6)).astype(np.float32),
        test_labels=np.array(TEST_LABELS, dtype=np.uint8),
    )


@pytest.fixture
def build(tmp_path):
    """Write a file below the data root and read it."""

    def _build(changes=None, split='train', **kwargs):
        content = {**arrays(), **(changes or {})}
        np.savez(
            tmp_path / 'vectors.npz',
            **{k: v for k, v in content.items() if v is not None},
        )
        kwargs = {
            'ann_file': 'vectors.npz',
            'data_root': str(tmp_path),
            'split': split,
            # serialization ends with a garbage collection, which takes its time
            'serialize_data': False,
            **kwargs,
        }
        return DATASETS.build(dict(type='FeatureVectors', **kwargs))

    return _build


def test_items(build):
    dataset = build()
    assert isinstance(dataset, FeatureVectors)
    assert len(dataset) == 4
    for number in range(4):
        item = dataset[number]
        assert set(item) == {'features', 'gt_score', 'gt_label', 'sample_idx'}
        assert item['sample_idx'] == number
        assert item['features'].dtype == item['gt_score'].dtype == np.float32
        expected = arrays()['train_features'][number].astype(np.float32)
        np.testing.assert_array_equal(item['features'], expected)
        assert item['gt_score'].tolist() == TRAIN_LABELS[number]
        present = [j for j, y in enumerate(TRAIN_LABELS[number]) if y == 1]
        assert item['gt_label'] == dataset.get_cat_ids(number) == present


@pytest.mark.parametrize('dtype', [np.uint8, np.int64, np.float64, bool])
def test_types_of_labels(build, dtype):
    labels = np.array([[1, 0, 1]] * 4, dtype=dtype)
    dataset = build(dict(train_labels=labels))
    assert dataset[0]['gt_score'].tolist() == [1, 0, 1]


def test_integer_features(build):
    dataset = build(dict(train_features=np.arange(24).reshape(4, 6)))
    assert dataset[1]['features'].tolist() == [6, 7, 8, 9, 10, 11]


def test_standardised_by_the_training_split(build):
    train = build(standardize_by='train')
    vectors = np.stack([train[i]['features'] for i in range(4)])
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(vectors.std(axis=0), 1, atol=1e-6)

    test = build(split='test', standardize_by='train')
    raw = arrays()
    mean, std = raw['train_features'].mean(0), raw['train_features'].std(0)
    for number in range(2):
        expected = (raw['test_features'][number] - mean) / std
        np.testing.assert_allclose(test[number]['features'], expected, rtol=1e-5)
    for dataset in (train, test):
        np.testing.assert_allclose(dataset.metainfo['feature_mean'], mean)
        np.testing.assert_allclose(dataset.metainfo['feature_std'], std)
    # How a resumed run compares them.
    assert pickle.dumps(train.metainfo) == pickle.dumps(test.metainfo)
    assert 'feature_mean' not in build().metainfo


def test_constant_feature_is_centred_only(build):
    features = arrays()['train_features']
    # Its mean over four rows is rounded.
    features[:, 2] = 0.1
    dataset = build(dict(train_features=features), standardize_by='train')
    for item in dataset:
        assert abs(item['features'][2]) < 1e-6
        assert np.isfinite(item['features']).all()
    test = build(dict(train_features=features), 'test', standardize_by='train')
    shift = arrays()['test_features'][:, 2] - 0.1
    got = [item['features'][2] for item in test]
    np.testing.assert_allclose(got, shift, rtol=1e-5)


def test_names_of_labels(build, tmp_path):
    assert build().metainfo['classes'] == ('label 0', 'label 1', 'label 2')
    names = ('a', 'b', 'c')
    assert build(classes=names).metainfo['classes'] == names
    assert build(metainfo=dict(classes=list(names))).metainfo['classes'] == names
    (tmp_path / 'names.txt').write_text('a\nb\nc\n')
    dataset = build(classes=str(tmp_path / 'names.txt'))
    assert dataset.metainfo['classes'] == names


def test_batches_of_a_model(build):
    """Through PackInputs, collation and preprocessor, as they are."""
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor'))
    dataset = build(pipeline=[dict(type='PackInputs', input_key='features')])
    items = [dataset[number] for number in range(4)]
    assert items[0]['inputs'].shape == (6,)
    assert items[2]['data_samples'].sample_idx == 2
    for collate in (
        default_collate,
        lambda items: {k: [i[k] for i in items] for k in items[0]},
    ):
        batch = preprocessor(collate(items), training=True)
        assert batch['inputs'].dtype == torch.float32
        np.testing.assert_array_equal(
            batch['inputs'].numpy(), arrays()['train_features'].astype(np.float32)
        )
        scores = [s.gt_score.tolist() for s in batch['data_samples']]
        assert scores == TRAIN_LABELS


@pytest.mark.parametrize('serialize_data', [True, False])
def test_subset_and_serialization(build, serialize_data):
    dataset = build(indices=[2, 0], serialize_data=serialize_data)
    assert [item['gt_score'].tolist() for item in dataset] == [
        TRAIN_LABELS[2],
        TRAIN_LABELS[0],
    ]
    # An item is the caller's own.
    dataset[0]['features'][:] = 0
    assert dataset[0]['features'].all()


def test_repr(build):
    text = repr(build(split='test', standardize_by='train'))
    for part in ('FeatureVectors', 'vectors.npz', 'test', 'train', '2', '3'):
        assert part in text


# --- bad input ------------------------------------------------------------------


def test_no_file(build, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'other\.npz.*data_root'):
        build(ann_file='other.npz')
    with pytest.raises(ValueError, match='is a folder'):
        build(ann_file='.')


@pytest.mark.parametrize('kind', ['empty', 'text', 'npy', 'cut'])
def test_no_npz_file(build, tmp_path, kind):
    build()
    path = tmp_path / 'bad.npz'
    content = (tmp_path / 'vectors.npz').read_bytes()
    if kind == 'npy':
        np.save(tmp_path / 'bad.npy', np.zeros(3))
        content = (tmp_path / 'bad.npy').read_bytes()
    path.write_bytes(
        dict(empty=b'', text=b'features', cut=content[:-100]).get(kind, content)
    )
    with pytest.raises(
        ValueError, match=r'bad\.npz is no \.npz file, or an incomplete'
    ):
        build(ann_file='bad.npz')


def test_missing_arrays(build):
    with pytest.raises(
        ValueError, match=r"lacks .*'val_features', 'val_labels'.*test_"
    ):
        build(split='val')
    with pytest.raises(ValueError, match=r"lacks the arrays \['train_labels'\]"):
        build(dict(train_labels=None))
    with pytest.raises(ValueError, match=r"lacks the arrays \['trian_features'\]"):
        build(standardize_by='trian')


@pytest.mark.parametrize(
    'features',
    [
        np.zeros((4, 6, 1)),
        np.zeros(4),
        np.zeros((0, 6)),
        np.zeros((4, 0)),
        np.full((4, 6), 'a'),
        np.zeros((4, 6), dtype=complex),
    ],
    ids=lambda features: f'{features.dtype}{features.shape}',
)
def test_bad_features(build, features):
    with pytest.raises(ValueError, match=r"numbers \(N, C\) in 'train_features'.*got"):
        build(dict(train_features=features))


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_not_finite(build, split, value):
    """In the split itself, and in that which it is standardised by."""
    features = arrays()['train_features']
    features[2, 4] = value
    with pytest.raises(
        ValueError, match=f"'train_features' holds {value} in row 2, col"
    ):
        build(dict(train_features=features), split, standardize_by='train')


def test_splits_of_different_width(build):
    with pytest.raises(
        ValueError, match="'test_features' has 5.*'train_features' has 6"
    ):
        build(dict(test_features=np.zeros((2, 5))), 'test', standardize_by='train')


@pytest.mark.parametrize('shape', [(3, 3), (5, 3), (4,), (4, 0)])
def test_bad_shape_of_labels(build, shape):
    with pytest.raises(ValueError, match=r"expected \(4, L\) in 'train_labels'.*got"):
        build(dict(train_labels=np.zeros(shape)))


@pytest.mark.parametrize('value', [2, -2, 0.5, np.nan])
def test_bad_labels(build, value):
    labels = np.zeros((4, 3))
    labels[3, 1] = value
    with pytest.raises(
        ValueError, match=f"'train_labels' hold {value}.* in row 3, colu"
    ):
        build(dict(train_labels=labels))


def test_wrong_number_of_names(build):
    with pytest.raises(
        ValueError, match=r"has 3 labels, but classes has 2 names: \['a'"
    ):
        build(classes=['a', 'b'])


def test_damaged_files(tmp_path):
    """numpy and zipfile raise nearly anything."""
    path = tmp_path / 'vectors.npz'
    arrays = dict(train_features=np.ones((4, 3)), train_labels=np.zeros((4, 2)))
    np.savez(path, **arrays)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"'descr'", b"'des\0r'"))
    with pytest.raises(ValueError, match='vectors.npz is damaged'):
        FeatureVectors(str(path), 'train')
    np.savez(path, **{**arrays, 'train_labels': np.array([[None]] * 4)})
    with pytest.raises(ValueError, match='vectors.npz is damaged, or .* of objects'):
        FeatureVectors(str(path), 'train')
