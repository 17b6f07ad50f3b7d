# SPDX-License-Identifier: Apache-2.0
"""The cache: interruptions, other settings, locks, space, several processes."""

import json
import os
import random
import shutil
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.runner import set_random_seed
from mmpretrain.registry import DATASETS

from mlcl_plugin.engine import FeatureExtraction, extract_features
from mlcl_plugin.engine.cached_features import extraction, feature_files
from mlcl_plugin.engine.cached_features.feature_files import FeatureFile
from mlcl_plugin.errors import FolderInUseError, SaveError


@pytest.fixture
def own_data(tiny_coco, tmp_path):
    """A copy of the data set that a test may change."""
    return shutil.copytree(tiny_coco, tmp_path / 'data')


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


class Killed(Exception):
    """Raised to stop an extraction."""


@pytest.mark.parametrize('calls', [1, 4, 10])
def test_goes_on(load_config, tmp_path, monkeypatch, calls):
    """An interrupted call is continued; what was marked is not computed again."""
    cfg = load_config()
    monkeypatch.setattr(extraction, 'BATCH_SIZE', 2)
    monkeypatch.setattr(extraction, 'MARK_EVERY', 1)
    extract_features(cfg, tmp_path / 'whole', num_views=2)

    written = []
    write = FeatureFile.write

    def stopping(self, images, view, features):
        if len(written) == calls:
            raise Killed
        written.append((self.path.name, view, *images.tolist()))
        write(self, images, view, features)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, 'write', stopping)
        with pytest.raises(Killed):
            extract_features(cfg, tmp_path / 'part', num_views=2)
        assert not (tmp_path / 'part/train.json').exists()
        # All of the rest, once.
        calls = -1
        extract_features(cfg, tmp_path / 'part', num_views=2)
    train = [entry for entry in written if entry[0] == 'train.npy']
    # 7 images in batches of two: at most the batch that was cut off is done twice.
    assert 8 <= len(train) <= 10
    assert files_of(tmp_path / 'part') == files_of(tmp_path / 'whole')


def test_what_is_left_of_other_settings(load_config, tmp_path, monkeypatch):
    """Unfinished features of other settings are thrown away."""
    cfg = load_config()
    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, 'mark', lambda self, images: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract_features(cfg, tmp_path / 'out', num_views=3)
    assert (tmp_path / 'out/train.npy.part').exists()
    extract_features(cfg, tmp_path / 'out', num_views=2)
    extract_features(cfg, tmp_path / 'whole', num_views=2)
    assert files_of(tmp_path / 'out') == files_of(tmp_path / 'whole')


def test_fingerprint(load_config, own_data, tmp_path):
    """It changes with everything that changes features or labels, and with no more."""
    cfg = load_config(root=own_data)

    def fingerprint(changes=None, **kwargs):
        changed = deepcopy(cfg)
        changed.merge_from_dict(changes or {})
        return FeatureExtraction(changed, **(dict(num_views=2) | kwargs)).fingerprint

    first = fingerprint()
    assert first == fingerprint()
    assert first == fingerprint({'train_dataloader.batch_size': 2})
    # Features are those of all images.
    assert first == fingerprint({'train_dataloader.dataset.indices': 3})
    pipeline = deepcopy(cfg.train_dataloader.dataset.pipeline)
    pipeline[2].prob = 0.9
    seen = {
        first,
        fingerprint(num_views=3),
        fingerprint(seed=1),
        fingerprint({'train_dataloader.dataset.pipeline': pipeline}),
        fingerprint({'data_preprocessor.to_rgb': False}),
        fingerprint({'model.backbone.base_channels': 4, 'model.backbone.depth': 34}),
    }
    # Other weights of the same network.
    other = FeatureExtraction(cfg, 2).backbone
    with torch.no_grad():
        other.conv1.weight[0, 0, 0, 0] += 1e-3
    torch.save(other.state_dict(), tmp_path / 'backbone.pth')
    seen.add(fingerprint(checkpoint=str(tmp_path / 'backbone.pth')))
    # The same weights in a file.
    same = FeatureExtraction(cfg, 2).backbone
    torch.save(same.state_dict(), tmp_path / 'same.pth')
    assert first == fingerprint(checkpoint=str(tmp_path / 'same.pth'))
    # An image and a label.
    image = own_data / 'train/002.png'
    os.utime(image, ns=(1, 1))
    seen.add(fingerprint())
    cv2.imwrite(str(image), np.zeros((40, 40, 3), np.uint8))
    seen.add(fingerprint())
    content = json.loads((own_data / 'val.json').read_text())
    content['annotations'].pop()
    (own_data / 'val.json').write_text(json.dumps(content))
    seen.add(fingerprint())
    assert len(seen) == 10


def test_views_do_not_depend_on_workers(load_config, tmp_path):
    cfg = load_config()
    extract_features(cfg, tmp_path / 'none', num_views=2)
    cfg.train_dataloader.update(num_workers=2)
    extract_features(cfg, tmp_path / 'two', num_views=2)
    for name in ('train.npy', 'tune.npy'):
        assert files_of(tmp_path / 'none')[name] == files_of(tmp_path / 'two')[name]


def test_random_numbers_are_left_alone(load_config, tmp_path):
    """A run without a seed draws one by them, which must not be the same each time."""

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    set_random_seed(5)
    expected = draw()
    set_random_seed(5)
    extract_features(load_config(), tmp_path / 'out', num_views=2)
    assert draw() == expected


def test_each_image_is_read_once(load_config, monkeypatch):
    cfg = load_config()
    dataset = FeatureExtraction(cfg, num_views=4)._datasets[0]
    read = []
    load_image = type(dataset._pipelines['train'][0])
    decode = load_image.decode
    monkeypatch.setattr(
        load_image,
        'decode',
        lambda self, content, path: read.append(path) or decode(self, content, path),
    )
    _, views = dataset[3]
    assert len(read) == 1
    assert len(views['train']) == 4 and len(views['tune']) == 1
    assert any(not torch.equal(views['train'][0], view) for view in views['train'])


def test_joined_datasets(load_config, tmp_path):
    cfg = load_config()
    single = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[single, deepcopy(single)]
    )
    assert isinstance(DATASETS.build(cfg.train_dataloader.dataset), ConcatDataset)
    with pytest.raises(ValueError, match='ConcatDataset'):
        FeatureExtraction(cfg, 1)


def test_an_image_that_is_skipped(load_config, own_data, tmp_path):
    cfg = load_config(root=own_data)
    (own_data / 'train/004.png').write_bytes(b'no image')
    for dataloader in (cfg.train_dataloader, cfg.val_dataloader):
        dataloader.dataset.pipeline[0].unreadable = 'skip'
    with pytest.raises(ValueError, match=r"004.png: LoadImage .*unreadable='skip'"):
        extract_features(cfg, tmp_path / 'out', num_views=1)


def test_features_that_are_not_finite(load_config, tmp_path):
    cfg = load_config()
    backbone = FeatureExtraction(cfg, 1).backbone
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1e4)
    torch.save(backbone.state_dict(), tmp_path / 'large.pth')
    with pytest.raises(ValueError, match=r'000.png are not finite as float16'):
        extract_features(cfg, tmp_path / 'out', 1, str(tmp_path / 'large.pth'))


def test_lock(load_config, tmp_path):
    """Another run that writes is named; complete features can be read meanwhile."""
    cfg = load_config()
    folder = tmp_path / 'out'
    folder.mkdir()
    lock = folder / '.lock'
    holder = json.dumps(dict(pid=os.getppid(), host=os.uname().nodename, since='now'))
    lock.write_text(holder)
    with pytest.raises(FolderInUseError, match=f'Process {os.getppid()}'):
        extract_features(cfg, folder, num_views=1)
    lock.unlink()
    extract_features(cfg, folder, num_views=1)
    lock.write_text(holder)
    extract_features(cfg, folder, num_views=1)


@pytest.mark.parametrize('full', ['before', 'while'])
def test_no_space(load_config, tmp_path, monkeypatch, full):
    cfg = load_config()
    if full == 'before':
        usage = SimpleNamespace(free=1000)
        monkeypatch.setattr(feature_files.shutil, 'disk_usage', lambda path: usage)
    else:

        def fail(*args):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr(feature_files.os, 'posix_fallocate', fail)
    with pytest.raises(SaveError, match=r'No space left.*They take 0.00 GB.*num_views'):
        extract_features(cfg, tmp_path / 'out', num_views=1)
    assert not list((tmp_path / 'out').glob('*.npy*'))


@pytest.mark.slow
def test_processes(write_config, run_processes, tmp_path):
    """Two processes share the work; the files are those of one."""
    config = write_config()
    extract_features(Config.fromfile(config), tmp_path / 'one', num_views=2)
    script = str(Path(__file__).with_name('extraction_processes.py'))
    numbers = run_processes(script, 2, str(config), str(tmp_path / 'two'))
    assert [len(number) for number in numbers] == [4, 3]
    assert files_of(tmp_path / 'one') == files_of(tmp_path / 'two')
