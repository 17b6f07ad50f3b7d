# SPDX-License-Identifier: Apache-2.0
import importlib
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger

ROOT = Path(__file__).parents[2]

SUITE = """
title = 'A title'
description = 'What is compared.'
seeds = [0, 1]
reference = 'plain'
options = {{'train_cfg.val_interval': 2}}
methods = dict(
    first=dict(config={path!r}, until='step1'),
    plain=dict(
        config={path!r},
        start='first',
        options={{'steps.step2.model.head.loss_contrastive': None}},
    ),
    contrast=dict(config={path!r}, start='first', label='with contrast'),
)
"""


@pytest.fixture
def load(monkeypatch):
    """Function that imports a module of ``studies/`` by its name."""
    monkeypatch.syspath_prepend(ROOT / 'studies')
    return importlib.import_module


@pytest.fixture
def settings():
    """Set back what a study changes for its whole process."""
    threads = torch.get_num_threads()
    logger = MMLogger.get_current_instance()
    level = logger.level
    yield
    torch.set_num_threads(threads)
    logger.setLevel(level)


@pytest.fixture
def suite(write_config, tmp_path):
    """A file with two seeds of three methods."""
    path = write_config({'custom_hooks': []})
    suite = tmp_path / 'tiny.py'
    suite.write_text(SUITE.format(path=str(path)))
    return suite


@pytest.fixture
def compare(load, settings):
    return load('comparison')


@pytest.fixture
def run(load, compare, suite, tmp_path, monkeypatch):
    """Function that compares; runs are trained in this process, one by one."""
    trained = []

    class Process:
        exitcode = 0

        def __init__(self, target, args, name):
            self.call, self.name = (lambda: target(*args)), name

        def start(self):
            trained.append(self.name)
            self.call()

        sentinel = None

    context = SimpleNamespace(Process=Process)

    numbers = itertools.count()

    def train(cfg, threads, folder, embeddings, neighbours):
        # MMEngine keeps visualizers by the name of the config and the second, within a
        # process; outside of tests each run has a process.
        cfg.__dict__['_filename'] = f'tiny_{next(numbers)}.py'
        load('runs').complete(cfg, folder, embeddings, neighbours)

    monkeypatch.setattr(compare, 'train', train)
    monkeypatch.setattr(compare.multiprocessing, 'get_context', lambda kind: context)
    monkeypatch.setattr(compare.multiprocessing.connection, 'wait', lambda found: None)

    def run(*options):
        trained.clear()
        folders = ['--out', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'runs')]
        load('compare_methods').main([str(suite), *folders, *options])
        return trained, json.loads((tmp_path / 'out/tiny.json').read_text())

    return run
