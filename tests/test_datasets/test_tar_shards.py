# SPDX-License-Identifier: Apache-2.0
import io
import json
import socket
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import DefaultSampler

from mlcl_plugin.datasets.tar_shards import TarMemberBackend, TarShards
from mlcl_plugin.datasets.transforms.load_image import LoadImage
from tests.child_process import CONTEXT, exit_code_of, run_as_rank
from tests.test_datasets.shard_processes import live

CLASSES = ('cat', 'dog', 'owl')


def picture(number):
    return np.full((4, 5, 3), number, dtype=np.uint8)


def encoded(number):
    return cv2.imencode('.png', picture(number))[1].tobytes()


def add(archive, name, content=b'', size=None, **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content) if size is None else size
    for key, value in fields.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


def write_shards(folder, shards=3, each=4, form='json'):
    for shard in range(shards):
        with tarfile.open(folder / f'train-{shard}.tar', 'w') as archive:
            for i in range(each):
                number = shard * each + i
                labels = [label for label in range(3) if number >> label & 1]
                text = json.dumps({'labels': [CLASSES[label] for label in labels]})
                if form == 'cls':
                    text = ' '.join(map(str, labels))
                add(archive, f'a/{number:06}.png', encoded(number))
                add(archive, f'a/{number:06}.txt', b'a caption')
                add(archive, f'a/{number:06}.{form}', text.encode())


def make(folder, **kwargs):
    options = dict(ann_file='train-*.tar', classes=CLASSES, serialize_data=False)
    return TarShards(data_root=str(folder), **(options | kwargs))


@pytest.mark.parametrize('form', ['json', 'cls'])
def test_items(tmp_path, form):
    write_shards(tmp_path, form=form)
    pipeline = [dict(type='LoadImage')]
    dataset = make(tmp_path, pipeline=pipeline, cache_dir=str(tmp_path / 'cache'))
    assert len(dataset) == 12
    for number in (11, 0, 7):
        item = dataset[number]
        np.testing.assert_array_equal(item['img'], picture(number))
        assert item['gt_label'] == [label for label in range(3) if number >> label & 1]
    assert len(make(tmp_path, cache_dir=str(tmp_path / 'cache'))) == 12


def test_each_image_once_an_epoch(tmp_path, monkeypatch):
    """Two processes divide the images, anew in every epoch."""
    write_shards(tmp_path)
    dataset = make(tmp_path)
    orders = []
    for epoch in range(2):
        drawn = []
        for rank in range(2):
            monkeypatch.setattr(
                'mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2)
            )
            sampler = DefaultSampler(dataset, shuffle=True, seed=0)
            sampler.set_epoch(epoch)
            drawn.append(list(sampler))
        assert sorted(drawn[0] + drawn[1]) == list(range(12))
        orders.append(drawn)
    assert orders[0] != orders[1]


def run(processes, *args):
    """Train in one process, or in several of a group; whether all came to the end."""
    if processes == 1:
        return exit_code_of(live, *args) == 0
    script = str(Path(__file__).with_name('shard_processes.py'))
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    started = [
        CONTEXT.Process(target=run_as_rank, args=(script, rank, processes, port, *args))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        # a process that waits for one that was killed
        process.kill()
        process.join()
    return all(process.exitcode == 0 for process in started)


def drawn_images(path, processes):
    """The images of each batch by epoch and process."""
    drawn = {}
    for rank in range(processes):
        for line in Path(f'{path}.{rank}').read_text().splitlines():
            epoch, *images = line.split()
            drawn.setdefault(int(epoch), [[] for _ in range(processes)])
            drawn[int(epoch)][rank].append(images)
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_killed_and_resumed(tmp_path, write_config, processes):
    """Each image once an epoch, also in an epoch in which the processes were killed."""
    write_shards(tmp_path)
    data = dict(
        type='TarShards',
        data_root=str(tmp_path),
        ann_file='train-*.tar',
        classes=CLASSES,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=3),
            dict(type='PackInputs'),
        ],
    )
    changes = {
        f'{x}_dataloader.dataset': dict(_delete_=True, **data)
        for x in ('train', 'val', 'test')
    }
    changes['train_dataloader.batch_size'] = 2
    changes['steps'] = dict(_delete_=True, step1=dict())
    changes['custom_hooks'] = [dict(type='DrawnImagesHook')]
    config, work_dir = write_config(changes), tmp_path / 'work'
    first, second = tmp_path / 'first', tmp_path / 'second'

    assert not run(processes, config, work_dir, first, 'yes')
    assert [p.name for p in (work_dir / 'step1').glob('*.pth')] == ['epoch_1.pth']
    assert run(processes, config, work_dir, second, '')
    assert (work_dir / 'step1/epoch_2.pth').is_file()

    before, after = drawn_images(first, processes), drawn_images(second, processes)
    assert list(before) == [0, 1] and list(after) == [1]
    paths = sorted(make(tmp_path).get_data_info(i)['img_path'] for i in range(12))
    for whole in (before[0], after[1]):
        assert sorted(sum(sum(whole, []), [])) == paths
    # one batch was drawn before they were killed, and is drawn again
    assert before[1] == [batches[:1] for batches in after[1]]
    assert before[0] != after[1]


def hostile(path, fill):
    with tarfile.open(path, 'w') as archive:
        fill(archive)


LINK = dict(type=tarfile.SYMTYPE, linkname='/etc/passwd')


@pytest.mark.parametrize(
    ('fill', 'message'),
    [
        (lambda a: add(a, '0.png', **LINK), '0.png.* is a link, a device'),
        (lambda a: add(a, '0.png', type=tarfile.FIFOTYPE), 'is a link, a device'),
        (lambda a: add(a, '/etc/0.png', b'x'), 'has an absolute name'),
        (lambda a: add(a, 'a/../../0.png', b'x'), r"or one with '\.\.'"),
        (lambda a: add(a, '0.png', b'x', size=1), "'0' has no labels"),
        (lambda a: add(a, '0.json', b'[]'), "'0' has no image"),
        (lambda a: add(a, '0.json', b'[' * 90_000), 'nested too deeply'),
        (lambda a: add(a, '0.json', b' ' * 1_000_001), 'more than the 1,000,000'),
        (lambda a: add(a, '0.json', b'["cow"]'), r"names \['cow'\], expected some"),
        (lambda a: add(a, '0.json', b'{"x": 1}'), 'expected a list of names'),
        (lambda a: add(a, '0.cls', b'1 3'), 'expected indices from 0 to 2'),
        (lambda a: add(a, 'README.md', b'x'), 'has no sample'),
    ],
)
def test_wrong_or_hostile(tmp_path, fill, message):
    hostile(tmp_path / 'train-0.tar', fill)
    with pytest.raises(ValueError, match=message):
        make(tmp_path)


def test_samples_twice(tmp_path):
    def fill(archive):
        for name in ('0', '1', '0'):
            add(archive, f'{name}.png', b'x')
            add(archive, f'{name}.json', b'[]')

    hostile(tmp_path / 'train-0.tar', fill)
    with pytest.raises(ValueError, match="the sample '0' twice"):
        make(tmp_path)


def test_damaged_files(tmp_path):
    path = tmp_path / 'train-0.tar'
    info = tarfile.TarInfo('0.png')
    info.size = 10**12
    path.write_bytes(info.tobuf() + b'x' * 2000)
    with pytest.raises(ValueError, match='declares 1,000,000,000,000 bytes'):
        make(tmp_path)
    write_shards(tmp_path, 1)
    content = bytearray(path.read_bytes())
    # the header of the second sample: a plain reader would take it for the end
    start = content.index(b'a/000001.png')
    content[start : start + 512] = b'\x01' * 512
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match='is no header of tar'):
        make(tmp_path)
    path.write_bytes(b'')
    with pytest.raises(ValueError, match='no uncompressed tar file, or is damaged'):
        make(tmp_path)
    with tarfile.open(path, 'w:gz') as archive:
        add(archive, '0.png', b'x')
    with pytest.raises(ValueError, match='no uncompressed tar file'):
        make(tmp_path)
    with pytest.raises(FileNotFoundError, match='There is no tar file .*other'):
        make(tmp_path, ann_file='other-*.tar')
    with pytest.raises(ValueError, match='TarShards needs classes'):
        make(tmp_path, classes=None)


def test_shard_that_is_cut_off_later(tmp_path):
    write_shards(tmp_path, 1)
    dataset = make(tmp_path)
    path = tmp_path / 'train-0.tar'
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(ValueError, match='cut off or replaced'):
        LoadImage().transform(dataset.get_data_info(3))
    with pytest.raises(ValueError, match=r'Expected tar://OFFSET\+SIZE/PATH'):
        TarMemberBackend().get('tar://x/y')
