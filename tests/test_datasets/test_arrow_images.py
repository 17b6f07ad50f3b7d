# SPDX-License-Identifier: Apache-2.0
"""Files have the schema of those that ``datasets`` 5 writes."""

import json

import numpy as np
import pytest

from mlcl_plugin.datasets import ArrowImages
from mlcl_plugin.datasets.transforms.load_image import LoadImage
from tests.test_datasets.test_tar_shards import encoded, picture

pyarrow = pytest.importorskip('pyarrow')
CLASSES = ['cat', 'dog', 'owl']
IMAGE = pyarrow.struct([('bytes', pyarrow.binary()), ('path', pyarrow.string())])
CLASS_LABEL = dict(names=CLASSES, _type='ClassLabel')


def labels_of(number):
    return [label for label in range(3) if number >> label & 1]


def make_table(numbers, labels=None, feature=None, images=None, column='labels'):
    """Rows with the schema of ``datasets``."""
    if labels is None:
        labels = [labels_of(number) for number in numbers]
        feature = feature or dict(feature=CLASS_LABEL, _type='List')
    metadata = None
    if feature is not None:
        features = {'image': dict(_type='Image'), column: feature}
        metadata = {'huggingface': json.dumps(dict(info=dict(features=features)))}
    if images is None:
        images = [dict(bytes=encoded(n), path=f'{n}.png') for n in numbers]
        images = pyarrow.array(images, IMAGE)
    names = ['image', column]
    table = pyarrow.table([images, pyarrow.array(labels)], names=names)
    return table.replace_schema_metadata(metadata)


def write_arrow(path, table, rows=2, **options):
    options = pyarrow.ipc.IpcWriteOptions(**options)
    with (
        pyarrow.OSFile(str(path), 'wb') as sink,
        pyarrow.ipc.new_stream(sink, table.schema, options=options) as writer,
    ):
        writer.write_table(table, max_chunksize=rows)
    return str(path)


def save_to_disk(folder, **more):
    folder.mkdir()
    write_arrow(folder / 'data-00000-of-00002.arrow', make_table(range(5)))
    write_arrow(folder / 'data-00001-of-00002.arrow', make_table(range(5, 8)))
    files = [dict(filename=p.name) for p in sorted(folder.glob('*.arrow'))]
    (folder / 'state.json').write_text(json.dumps(dict(_data_files=files) | more))
    return str(folder)


def check(dataset, numbers):
    assert len(dataset) == len(numbers)
    for row, number in enumerate(numbers):
        item = LoadImage().transform(dataset.get_data_info(row))
        np.testing.assert_array_equal(item['img'], picture(number))
        assert item['gt_label'] == labels_of(number)


def test_folder(tmp_path):
    folder = save_to_disk(tmp_path / 'photos')
    cache = str(tmp_path / 'cache')
    dataset = ArrowImages(ann_file=folder, cache_dir=cache)
    check(dataset, range(8))
    assert dataset.metainfo['classes'] == tuple(CLASSES)
    check(ArrowImages(ann_file=folder, cache_dir=cache), range(8))


def test_parquet(tmp_path):
    """Row groups, two files, a column 'label' of one index, large binary."""
    from pyarrow import parquet

    one = make_table([1, 2, 4], labels=[0, 1, 2], feature=CLASS_LABEL, column='label')
    for start in (0, 1):
        path = tmp_path / f'train-0000{start}.parquet'
        parquet.write_table(one.slice(start, 1 + start), path, row_group_size=1)
    options = dict(data_root=str(tmp_path), ann_file='train-*.parquet')
    with pytest.raises(ValueError, match="Set cache_dir='FOLDER'"):
        ArrowImages(**options)
    cache = tmp_path / 'cache'
    check(ArrowImages(cache_dir=str(cache), **options), [1, 2, 4])
    before = sorted(cache.iterdir())
    check(ArrowImages(cache_dir=str(cache), **options), [1, 2, 4])
    assert sorted(cache.iterdir()) == before and len(before) >= 2


def test_names_and_paths(tmp_path):
    """Names in another order than classes; an image by its path."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images/6.png').write_bytes(encoded(6))
    images = pyarrow.array(
        [dict(bytes=encoded(3), path=None), dict(bytes=None, path='6.png')], IMAGE
    )
    table = make_table([3, 6], [['dog', 'cat'], ['owl', 'dog']], images=images)
    path = write_arrow(tmp_path / 'x.arrow', table)
    options = dict(data_prefix=str(tmp_path / 'images'), ann_file=path)
    check(ArrowImages(classes=CLASSES, **options), [3, 6])
    with pytest.raises(ValueError, match='does not name its classes'):
        ArrowImages(**options)
    with pytest.raises(ValueError, match=r"labels \['owl'\], expected some of the 2"):
        ArrowImages(classes=CLASSES[:2], **options)
    large = pyarrow.array([encoded(n) for n in (3, 6)], pyarrow.large_binary())
    table = make_table([3, 6], [['dog', 'cat'], ['owl', 'dog']], images=large)
    path = write_arrow(tmp_path / 'y.arrow', table)
    check(ArrowImages(ann_file=path, classes=CLASSES), [3, 6])


def test_more_classes(tmp_path):
    """Stored indices keep their names; classes may add and order others."""
    path = write_arrow(tmp_path / 'x.arrow', make_table([1, 4]))
    dataset = ArrowImages(ann_file=path, classes=['owl', 'fox', 'cat', 'dog'])
    assert [dataset.get_data_info(i)['gt_label'] for i in (0, 1)] == [[2], [0]]


NO_BYTES = pyarrow.array([dict(bytes=None, path=None)], IMAGE)


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        (lambda: make_table([1], [[3]], CLASS_LABEL), 'label 3, expected .* below 3'),
        (lambda: make_table([1], [None], CLASS_LABEL), r'has no labels \(null\)'),
        (lambda: make_table([1], [[0.5]], CLASS_LABEL), 'label 0.5, expected a name'),
        (lambda: make_table([1], images=NO_BYTES), 'neither bytes nor a path'),
        (
            lambda: make_table([1], images=pyarrow.array([7])),
            "image_column='image' is int64, expected",
        ),
        (lambda: make_table([1], column='x'), "expected label_column='labels'"),
    ],
)
def test_wrong_tables(tmp_path, table, message):
    path = write_arrow(tmp_path / 'x.arrow', table())
    with pytest.raises(ValueError, match=message):
        ArrowImages(ann_file=path)


def test_wrong_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no file'):
        ArrowImages(ann_file=str(tmp_path / '*.arrow'))
    (tmp_path / 'dict/train').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"several splits.*\['train'\]"):
        ArrowImages(ann_file=str(tmp_path / 'dict'))
    folder = save_to_disk(tmp_path / 'rows', _indices_data_files=[dict(filename='x')])
    with pytest.raises(ValueError, match='flatten_indices'):
        ArrowImages(ann_file=folder)
    folder = save_to_disk(tmp_path / 'up', _data_files=[dict(filename='../x.arrow')])
    with pytest.raises(ValueError, match='of another folder'):
        ArrowImages(ann_file=folder)
    path = tmp_path / 'x.arrow'
    path.write_bytes(b'no arrow')
    with pytest.raises(ValueError, match='no file of Arrow'):
        ArrowImages(ann_file=str(path))
    write_arrow(path, make_table(range(4)), compression='zstd')
    with pytest.raises(ValueError, match='is compressed'):
        ArrowImages(ann_file=str(path))
    whole = write_arrow(path, make_table(range(4)))
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(ValueError, match='no file of Arrow|damaged'):
        ArrowImages(ann_file=whole)


def test_datasets_writes_it(tmp_path):
    """What the library itself writes, in both forms."""
    datasets = pytest.importorskip('datasets')
    features = datasets.Features(
        image=datasets.Image(),
        labels=datasets.Sequence(datasets.ClassLabel(names=CLASSES)),
    )
    rows = dict(
        image=[dict(bytes=encoded(n), path=None) for n in range(8)],
        labels=[labels_of(n) for n in range(8)],
    )
    written = datasets.Dataset.from_dict(rows, features=features)
    written.save_to_disk(str(tmp_path / 'disk'), num_shards=2)
    check(ArrowImages(ann_file=str(tmp_path / 'disk')), range(8))
    written.select([5, 1]).save_to_disk(str(tmp_path / 'some'))
    check(ArrowImages(ann_file=str(tmp_path / 'some')), [5, 1])
    written.to_parquet(str(tmp_path / 'x.parquet'))
    cache = str(tmp_path / 'cache')
    path = str(tmp_path / 'x.parquet')
    check(ArrowImages(ann_file=path, cache_dir=cache), range(8))
