# SPDX-License-Identifier: Apache-2.0
from mlcl_plugin.datasets import TarShards
from mlcl_plugin.datasets.transforms.load_image import LoadImage


def write(path, *lines):
    path.write_text(''.join(f'{line}\n' for line in lines))


def test_count_seen(tmp_path, load):
    """Rank 0 is killed after its second batch, and goes on from the first."""
    write(tmp_path / 'seen.0', '1 0 0 a b', '1 0 1 c d', '7 0 1 c d', '7 1 0 a b')
    write(tmp_path / 'seen.1', '2 0 0 e f', '8 0 1 g a', '8 1 0 e f')
    count_seen = load('seen_images').count_seen
    found = count_seen(tmp_path / 'seen', 2)
    first = dict(batches=4, images=7, once=6, more=1, batches_again=1)
    second = dict(batches=2, images=4, once=4, more=0, batches_again=0)
    assert found == dict(epochs={0: first, 1: second}, differing=0, lives=2)
    write(tmp_path / 'seen.0', '1 0 0 a b', '7 0 0 a c')
    assert count_seen(tmp_path / 'seen', 1)['differing'] == 1


def test_shards(tmp_path, monkeypatch, load):
    """Readable images whose labels are the colours in them."""
    shard_scale, brief = load('shard_scale'), load('seen_images').brief
    monkeypatch.setattr(shard_scale, 'PER_SHARD', 3)
    pattern = shard_scale.make_shards(tmp_path, 5, 32)
    dataset = TarShards(ann_file=pattern, classes=shard_scale.CLASSES)
    assert len(dataset) == 5 and len(list(tmp_path.glob('*.tar'))) == 2
    places = set()
    for row in range(5):
        item = LoadImage().transform(dataset.get_data_info(row))
        assert item['img'].shape == (32, 32, 3)
        places.add(brief(item['img_path']))
        red = (item['img'][..., 2] > 220) & (item['img'][..., :2].max(2) < 60)
        assert (red.sum() > 20) == (0 in item['gt_label'])
    assert len(places) == 5
