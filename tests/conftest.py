# SPDX-License-Identifier: Apache-2.0
"""A tiny data set and a tiny model that is trained, for tests of whole runs."""

import contextlib
import gc
import itertools
import json
import re
import socket
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

# MMPretrain prints a note when it is imported. With several processes, pytest would
# show it after its own last line.
with contextlib.redirect_stdout(None):
    from mmpretrain.registry import HOOKS

from mlcl_plugin.engine import set_default_dataloader_cfg
from tests.child_process import CONTEXT, UNFORMATTED, run_as_rank

ROOT = Path(__file__).parents[1]
CATEGORIES = {3: 'cat', 7: 'dog', 20: 'owl'}

# MMEngine names loggers and visualizers by the config file and the second. Different
# file names keep tests apart.
numbers = itertools.count()


class Interruption(Exception):
    """Raised to interrupt a training."""


class RecordHook(Hook):
    """Record what is trained, and stop where a test wants."""

    priority = 'VERY_LOW'
    # Of a process of its own, which no test reads.
    record = SimpleNamespace(events=[], stop_at=None)

    def _add(self, runner, event, **values):
        step = Path(runner.work_dir).name
        self.record.events.append(
            SimpleNamespace(event=event, step=step, epoch=runner.epoch, **values)
        )

    def before_train(self, runner):
        model = runner.model
        ema = [
            hook.ema_model.module for hook in runner.hooks if hasattr(hook, 'ema_model')
        ]
        self._add(
            runner,
            'train',
            iter=runner.iter,
            max_epochs=runner.max_epochs,
            batch_size=runner.train_dataloader.batch_size,
            optimizer=type(runner.optim_wrapper.optimizer).__name__,
            lr=runner.optim_wrapper.param_groups[0]['lr'],
            model=copy_state(model.module if is_model_wrapper(model) else model),
            ema=copy_state(ema[0]) if ema else None,
        )

    def before_train_epoch(self, runner):
        if (Path(runner.work_dir).name, runner.epoch) == self.record.stop_at:
            raise Interruption
        self._add(runner, 'epoch')


HOOKS.register_module(module=RecordHook, force=True)


def pytest_collection_finish():
    """Keep what was imported from being searched for garbage.

    MMEngine searches all objects with every dataset that it builds, which took half of
    the time of the tests.
    """
    gc.freeze()


@pytest.fixture(scope='session')
def run_processes(tmp_path_factory):
    """Function that runs a script in several processes and loads what they save.

    The script gets as arguments: rank, number of processes, port, the file to save to,
    and the arguments of the call.
    """

    def run(script, world_size, *args):
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = str(server.getsockname()[1])
        folder = tmp_path_factory.mktemp('processes')
        outs = [folder / f'{rank}.pt' for rank in range(world_size)]
        started = []
        for rank, out in enumerate(outs):
            process = CONTEXT.Process(
                target=run_as_rank,
                args=(str(script), rank, world_size, port, out, *args),
            )
            process.start()
            started.append(process)
        for process in started:
            process.join(timeout=600)
        assert [process.exitcode for process in started] == [0] * world_size
        return [torch.load(out) for out in outs]

    return run


@pytest.fixture
def ends_with_line(capsys):
    """Context in which a tool ends with code 2 and a line on stderr that matches."""

    @contextlib.contextmanager
    def check(message):
        with pytest.raises(SystemExit, match='^2$'):
            yield
        line = capsys.readouterr().err.splitlines()[-1]
        assert re.search(message, line), line

    return check


def copy_state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.fixture
def record():
    """Record of a training: ``events``, ``epochs()`` and ``starts()``, in order."""
    RecordHook.record = record = SimpleNamespace(events=[], stop_at=None)
    record.epochs = lambda: [
        (e.step, e.epoch) for e in record.events if e.event == 'epoch'
    ]
    record.Interruption = Interruption
    record.starts = lambda: [e for e in record.events if e.event == 'train']
    yield record
    RecordHook.record = SimpleNamespace(events=[], stop_at=None)


def write_split(root, split, num_images, seed):
    """Write images with one bright corner per label."""
    rng = np.random.default_rng(seed)
    (root / split).mkdir()
    images, annotations = [], []
    for number in range(num_images):
        # Every label is present in some images and absent in others.
        labels = [label for label in range(3) if (number + 1) >> label & 1]
        img = rng.integers(0, 90, (32, 32, 3), dtype=np.uint8)
        for label in labels:
            y, x = divmod(label, 2)
            img[16 * y : 16 * y + 16, 16 * x : 16 * x + 16, label] += 150
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=number,
                    category_id=list(CATEGORIES)[label],
                    bbox=[0, 0, 9, 9],
                    iscrowd=0,
                )
            )
        name = f'{number:03}.png'
        cv2.imwrite(str(root / split / name), img)
        images.append(dict(id=number, file_name=name))
    categories = [dict(id=i, name=name) for i, name in CATEGORIES.items()]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / f'{split}.json').write_text(json.dumps(content))


@pytest.fixture(scope='session')
def tiny_coco(tmp_path_factory):
    """Folder with 8 training and 7 validation images in COCO's format.

    32 px, three labels; ``train.json``, ``val.json``, and a folder of images for each.
    Tests share the folder and must not write to it.
    """
    root = tmp_path_factory.mktemp('tiny_coco')
    write_split(root, 'train', 8, seed=0)
    write_split(root, 'val', 7, seed=1)
    return root


def tiny_dataset(root, split, transforms):
    return dict(
        type='CocoMultiLabel',
        data_root=f'{root}/',
        ann_file=f'{split}.json',
        data_prefix=dict(img_path=split),
        test_mode=split == 'val',
        # Serialization ends with a garbage collection, which is slow.
        serialize_data=False,
        pipeline=[
            dict(type='LoadImage'),
            dict(type='LabelsToTargets', num_classes=3),
            *transforms,
            dict(type='PackInputs'),
        ],
    )


def tiny_config(root):
    flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
    views = dict(type='MultiView', num_views=[2], transforms=[[flip]])
    return dict(
        model=dict(
            type='ImageClassifier',
            backbone=dict(
                type='ResNet',
                depth=18,
                stem_channels=8,
                base_channels=8,
                num_stages=2,
                strides=(1, 2),
                dilations=(1, 1),
                out_indices=(1,),
            ),
            neck=dict(
                type='LabelAttentionNeck',
                num_classes=3,
                in_channels=16,
                embed_dims=16,
                num_heads=2,
                num_blocks_before=1,
                num_blocks_after=1,
            ),
            head=dict(type='LabelWiseClsHead', num_classes=3, in_channels=16),
        ),
        data_preprocessor=dict(
            type='MultiViewDataPreprocessor',
            mean=[127.5] * 3,
            std=[64.0] * 3,
            to_rgb=True,
        ),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=tiny_dataset(root, 'train', [flip]),
        ),
        val_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=tiny_dataset(root, 'val', []),
        ),
        test_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=tiny_dataset(root, 'val', []),
        ),
        val_evaluator=dict(type='MultiLabelRecognitionMetric', classwise=True),
        test_evaluator=dict(type='MultiLabelRecognitionMetric', classwise=True),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[],
        train_cfg=dict(by_epoch=True, max_epochs=2),
        val_cfg=dict(),
        test_cfg=dict(),
        auto_scale_lr=dict(base_batch_size=8),
        default_hooks=dict(
            logger=dict(interval=1),
            checkpoint=dict(max_keep_ckpts=-1, save_best=None),
        ),
        custom_hooks=[
            dict(
                type='EMAHook',
                momentum=0.1,
                update_buffers=True,
                priority='ABOVE_NORMAL',
            ),
            dict(type='RecordHook'),
        ],
        randomness=dict(seed=0),
        runner_type='mmpretrain.StepwiseRunner',
        steps=dict(
            step1=dict(),
            step2=dict(
                data_preprocessor=dict(num_views=2),
                model=dict(
                    head=dict(
                        loss_contrastive=dict(type='LabelWiseContrastiveLoss'),
                        projector=dict(hidden_channels=16, out_channels=8),
                    )
                ),
                train_dataloader=dict(dataset=tiny_dataset(root, 'train', [views])),
                optim_wrapper=dict(
                    optimizer=dict(_delete_=True, type='SGD', lr=0.02, momentum=0.9)
                ),
            ),
        ),
    )


def leave_text_as_it_is(patch):
    """Do not format configs, which takes longer than the rest of a tiny run."""
    patch.setattr(*UNFORMATTED)


@pytest.fixture
def write_config(tiny_coco, tmp_path, record, monkeypatch):
    """Function that writes the config of a tiny run in two steps to a file.

    It takes changes by dotted key. The hooks of the config write to ``record``.
    """
    leave_text_as_it_is(monkeypatch)
    # Garbage collection over all objects of a test session is slow, too.
    monkeypatch.setattr(
        'mlcl_plugin.engine.runner.stepwise_runner.gc',
        SimpleNamespace(collect=lambda: None),
    )

    def write(changes=None, root=tiny_coco):
        cfg = Config(tiny_config(root))
        cfg.merge_from_dict(changes or {})
        path = tmp_path / f'tiny_{next(numbers)}.py'
        base = ROOT / 'configs/_base_/default_runtime.py'
        lines = [f'_base_ = [{str(base)!r}]']
        lines += [f'{key} = {value!r}' for key, value in cfg.to_dict().items()]
        path.write_text('\n'.join(lines))
        return path

    return write


@pytest.fixture
def load_config(write_config, tmp_path):
    """Function that returns the config of a tiny run, with a ``work_dir``."""

    def load(changes=None, **kwargs):
        cfg = Config.fromfile(write_config(changes, **kwargs))
        cfg.setdefault('work_dir', str(tmp_path / 'work'))
        set_default_dataloader_cfg(cfg)
        return cfg

    return load


@pytest.fixture
def small_backbone():
    """A backbone of `mlcl fit` that takes milliseconds."""
    from mlcl_plugin.fit.backbone import Backbone

    config = dict(
        type='ResNet',
        depth=18,
        stem_channels=8,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        norm_eval=True,
    )
    return Backbone('tiny', config, (127.0,) * 3, (64.0,) * 3)
