# SPDX-License-Identifier: Apache-2.0
import json
import time
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.datasets import VOC
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from mlcl_plugin.engine import CheckedRunner


@pytest.fixture
def make_runner(load_config):
    """Function that gives a plain run."""

    def make(changes=None):
        cfg = load_config(changes)
        cfg.pop('steps'), cfg.pop('runner_type')
        return CheckedRunner.from_cfg(cfg)

    return make


def test_short_runs_share_nothing(load_config, tmp_path, monkeypatch):
    """Of one config, started within a second: each keeps its checkpoints."""
    cfg = load_config(
        {
            'train_cfg.max_epochs': 2,
            'default_hooks.checkpoint.max_keep_ckpts': 2,
            'experiment_name': 'short',
        }
    )
    cfg.pop('steps'), cfg.pop('runner_type')
    now = time.time()
    frozen = SimpleNamespace(**vars(time) | dict(time=lambda: now))
    monkeypatch.setattr('mmengine.runner.runner.time', frozen)
    runners = []
    for name in ('first', 'second'):
        cfg.work_dir = str(tmp_path / name)
        runners.append(CheckedRunner.from_cfg(cfg))
        runners[-1].train()
        assert len(list((tmp_path / name).glob('epoch_*.pth'))) == 2
    first, second = runners
    assert first.timestamp < second.timestamp
    assert first.message_hub is not second.message_hub


@pytest.mark.parametrize('use', ['test', 'val'])
def test_a_test_does_not_resume(make_runner, tmp_path, use):
    """It takes weights, also by the config of a training that was resumed."""
    model = make_runner().model
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    load_from = dict(load_from=str(tmp_path / 'weights.pth'))
    runners = [make_runner(load_from | dict(resume=resume)) for resume in (True, False)]
    metrics, expected = (getattr(runner, use)() for runner in runners)
    assert 'multi-label/mAP' in metrics
    assert metrics == expected


def build(**dataset):
    sampler = dict(type='DefaultSampler', shuffle=False)
    return CheckedRunner.build_dataloader(
        dict(dataset=dataset, sampler=sampler, batch_size=2)
    )


@pytest.fixture
def labels(tmp_path):
    """Fields of datasets with two images and with none."""
    images = [dict(img_path=f'{i}.png', gt_label=[0]) for i in range(2)]
    for name, data_list in (('two', images), ('none', [])):
        content = dict(metainfo=dict(classes=['cat']), data_list=data_list)
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return {
        name: dict(
            type='mmpretrain.MultiLabelDataset',
            data_root=str(tmp_path),
            ann_file=f'{name}.json',
        )
        for name in ('two', 'none')
    }


def test_images(labels):
    assert len(build(**labels['two'])) == 1


def test_empty_file(labels, tmp_path):
    message = (
        rf"MultiLabelDataset\(data_root='{tmp_path}', ann_file='none.json'\).*Check"
    )
    with pytest.raises(ValueError, match=message):
        build(**labels['none'])


def test_no_index(labels):
    with pytest.raises(ValueError, match=r"ann_file='two.json', indices=0\)"):
        build(**labels['two'], indices=0)


def test_wrapped(labels):
    with pytest.raises(ValueError, match=r"RepeatDataset\(.*'none.json'"):
        build(type='RepeatDataset', dataset=labels['none'], times=2)
    with pytest.raises(ValueError, match=r"ConcatDataset\(.*'two.*'none.json'"):
        build(type='ConcatDataset', datasets=[labels['two'], labels['none']])


@pytest.mark.parametrize('kind', ['mmpretrain.VOC', VOC])
def test_empty_image_set(tmp_path, kind):
    (tmp_path / 'ImageSets/Main').mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/train.txt').touch()
    with pytest.raises(ValueError, match=rf"VOC\(.*'{tmp_path}', split='train'"):
        build(type=kind, data_root=str(tmp_path), split='train')


def test_other_errors(labels):
    """Other errors stay as they are."""
    with pytest.raises(FileNotFoundError, match='gone.json'):
        build(**labels['two'] | dict(ann_file='gone.json'))


@pytest.mark.parametrize('drop_last', [True, False])
def test_fewer_images_than_a_batch(make_runner, record, drop_last):
    runner = make_runner(
        {
            'train_dataloader.drop_last': drop_last,
            'train_dataloader.batch_size': 9,
            'train_cfg.max_epochs': 1,
        }
    )
    if drop_last:
        with pytest.raises(ValueError, match=r'7 images.*batch_size=9.*drop_last=True'):
            runner.train()
    else:
        runner.train()
    assert len(record.epochs()) == 1 - drop_last


class NoBatch(Sampler):
    """Foreign batch sampler, which has no size of a batch."""

    def __init__(self, sampler, batch_size):
        pass

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


def test_foreign_batch_sampler(make_runner):
    DATA_SAMPLERS.register_module(module=NoBatch)
    try:
        runner = make_runner({'train_dataloader.batch_sampler': dict(type='NoBatch')})
        with pytest.raises(ValueError, match=r'7 images.*batch_sampler=NoBatch\. Set'):
            runner.train()
    finally:
        DATA_SAMPLERS.module_dict.pop('NoBatch')


def test_log_has_no_control_characters(tmp_path):
    """A name of a file or label must not command the terminal."""
    runner = object.__new__(CheckedRunner)
    runner._experiment_name = 'test_log_has_no_control_characters'
    logger = runner.build_logger(log_level='INFO', log_file=str(tmp_path / 'a.log'))
    logger.info('a\x1b]0;title\x07b')
    text = (tmp_path / 'a.log').read_text()
    assert 'a\\x1b]0;title\\x07b' in text and '\x1b]0' not in text
