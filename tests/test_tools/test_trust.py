# SPDX-License-Identifier: Apache-2.0
"""What every tool says of a checkpoint of other labels, or one that may run code."""

import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model

from mlcl_plugin.engine import allow_unsafe_checkpoints
from tests.marks import pairs

TOOLS = Path(__file__).parents[2] / 'tools'
CLASSES = ('cat', 'dog', 'owl')
OTHER = ('owl', 'dog', 'cat')


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def save(write_config, tmp_path):
    """Function that saves a checkpoint of a tiny model."""

    def call(classes, **meta):
        torch.manual_seed(0)
        model = get_model(str(write_config()), pretrained=False)
        if classes is not None:
            meta['dataset_meta'] = dict(classes=classes)
        path = tmp_path / 'step1/model.pth'
        path.parent.mkdir(exist_ok=True)
        torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
        return path

    return call


@pytest.fixture
def call(write_config, tmp_path, tiny_coco, monkeypatch):
    """Function that calls a tool with a checkpoint, in this process."""
    config = write_config({'train_cfg.max_epochs': 1})
    plain = Config.fromfile(config)
    plain.pop('steps'), plain.pop('runner_type')
    plain.dump(tmp_path / 'plain.py')
    names = tmp_path / 'names.txt'

    def call(name, checkpoint, *options):
        names.write_text('\n'.join(CLASSES))
        work = ['--work-dir', tmp_path / 'work']
        out = tmp_path / 'out'
        path, *args = {
            'train': (
                'train.py', config, *work, *options,
                '--cfg-options', f'load_from={checkpoint}',
            ),
            'train plain': (
                'train.py', tmp_path / 'plain.py', *work, *options,
                '--cfg-options', f'load_from={checkpoint}',
            ),
            'train init': ('train.py', checkpoint, *options),
            'test': ('test.py', config, checkpoint, *work),
            'infer': (
                'infer.py', tiny_coco / 'val', config, checkpoint,
                '--classes', names, '--out', out / 'lines.jsonl',
            ),
            'embedding_quality': (
                'analysis_tools/embedding_quality.py', config, checkpoint,
                '--shots', '1',
            ),
            'vis': (
                'visualizations/vis_label_attention.py', config, checkpoint,
                '--out', out / 'sheet.png', '--num-images', '1',
            ),
            'fit_neighbours': (
                'fit_neighbours.py', config, checkpoint, '--out', out / 'filled.pth',
                '--device', 'cpu',
            ),
            'extract_features': (
                'extract_features.py', config, out / 'features',
                '--checkpoint', checkpoint, '--views', '1',
            ),
        }[name]  # fmt: skip
        if not name.startswith('train'):
            args += options
        out.mkdir(exist_ok=True)
        monkeypatch.setattr(sys, 'argv', [str(TOOLS / path), *map(str, args)])
        module = runpy.run_path(str(TOOLS / path))
        monkeypatch.setattr('mlcl_plugin.engine.keep_memory', lambda: None)
        return module['main']()

    yield call
    allow_unsafe_checkpoints(False)


COMPARING = [
    'train',
    'train plain',
    'test',
    'infer',
    'embedding_quality',
    'vis',
    'fit_neighbours',
]


@pytest.mark.parametrize('name', COMPARING)
def test_other_labels(name, call, save, ends_with_line):
    path = save(OTHER)
    with ends_with_line(
        r'^\w+: .* has other labels than .*the same labels in another order: label 0 '
        r"is '(cat|owl)' in .*, expected '(cat|owl)'\. If they mean the same, set "
        r'--allow-other-labels\.( To start with .*LabelsByNameHook.*)?$'
    ):
        call(name, path)
    call(name, path, '--allow-other-labels')


@pytest.mark.parametrize(
    ('classes', 'name'), pairs([CLASSES, list(CLASSES), None], COMPARING)
)
def test_same_or_no_labels(name, classes, call, save):
    call(name, save(classes))


def test_features_have_no_labels(call, save):
    """The backbone does not depend on them."""
    call('extract_features', save(OTHER))


@pytest.mark.parametrize('name', [*COMPARING, 'extract_features'])
def test_unsafe_checkpoint(name, call, save, tmp_path, ends_with_line, monkeypatch):
    canary = tmp_path / 'canary'
    path = save(CLASSES, note=Call(os.mkdir, str(canary)))
    with ends_with_line(
        rf"^\w+: {path} cannot be used as a checkpoint: it refers to 'posix\.mkdir',"
        r' .* Load it only if you trust its author: set --allow-unsafe-checkpoint\.$'
    ):
        call(name, path)
    assert not canary.exists()
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.checkpoint_loaders.print_log',
        lambda text, *_: logged.append(text),
    )
    call(name, path, '--allow-unsafe-checkpoint')
    assert canary.exists()
    assert logged == ['Checkpoints are unpickled without a check: a file may run code.']


@pytest.mark.parametrize('name', [*COMPARING, 'extract_features'])
def test_backbone_of_another_form(name, call, save, tmp_path, ends_with_line):
    path = save(CLASSES)
    content = torch.load(path, weights_only=False)
    content['state_dict'] = {'encoder.weight': torch.ones(2)}
    torch.save(content, path)
    with ends_with_line(rf'{path} (has none of|does not fit) '):
        call(name, path)
    content['state_dict'] = {'backbone.conv1.weight': [1.0]}
    torch.save(content, path)
    with ends_with_line(rf"{path} cannot be .*'(backbone\.)?conv1\.weight' is a list"):
        call(name, path)


@pytest.mark.parametrize('part', ['model', 'model.head'])
def test_labels_of_init_cfg(part, call, save, write_config, ends_with_line):
    path = save(OTHER)
    init = dict(type='Pretrained', checkpoint=str(path))
    if part != 'model':
        init['prefix'] = part.removeprefix('model.')
    changes = {'train_cfg.max_epochs': 1, f'{part}.init_cfg': init}
    args = ['--work-dir', path.parent / 'work']
    with ends_with_line(
        rf'^train: {path} has other labels than the data set: .* set '
        r'--allow-other-labels\.$'
    ):
        call('train init', write_config(changes), *args)
    call('train init', write_config(changes), *args, '--allow-other-labels')


def test_backbone_of_init_cfg_has_no_labels(call, save, write_config):
    init = dict(type='Pretrained', checkpoint=str(save(OTHER)), prefix='backbone')
    changes = {'train_cfg.max_epochs': 1, 'model.backbone.init_cfg': init}
    call('train init', write_config(changes), '--work-dir', save(OTHER).parent / 'work')
