# SPDX-License-Identifier: Apache-2.0
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mlcl_plugin.engine import StepwiseRunner
from mlcl_plugin.engine.hooks import prototype_init_hook
from mlcl_plugin.engine.hooks.prototype_init_hook import PrototypeInitHook
from mlcl_plugin.models.losses import prototype_contrastive_loss  # noqa: F401
from mlcl_plugin.models.necks import ml_decoder  # noqa: F401

SCRIPT = str(Path(__file__).with_name('prototype_processes.py'))
MODEL = {
    'model.neck': dict(
        _delete_=True,
        type='MLDecoderNeck',
        num_classes=3,
        in_channels=16,
        embed_dims=16,
        num_heads=4,
        feedforward_channels=16,
    ),
    'model.head': dict(
        _delete_=True,
        type='SADCLHead',
        num_classes=3,
        in_channels=16,
        projector=dict(out_channels=8),
        num_slots=4,
        memory_thr=0.0,
    ),
}


@pytest.fixture
def load(load_config):
    """Function that gives the config of a tiny run of a SADCL head."""

    def load(changes=None):
        cfg = load_config({**MODEL, **(changes or {})})
        cfg.pop('steps'), cfg.pop('runner_type')
        # Each image always the same.
        pipeline = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset.pipeline = [
            step for step in pipeline if step.type != 'RandomFlip'
        ]
        return cfg

    return load


@pytest.fixture
def messages(monkeypatch):
    """What is logged."""
    seen = []
    monkeypatch.setattr(
        prototype_init_hook, 'print_log', lambda message, logger: seen.append(message)
    )
    return seen


def prepare(cfg, bias=(0.0, 0.0, 0.0)):
    """A runner right before its training, with a model that is initialised."""
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    assert len(runner.train_loop.dataloader) > 0
    classifier = runner.model.head.classifier
    with torch.no_grad():
        classifier.weight.normal_(generator=torch.Generator().manual_seed(0))
        classifier.bias.copy_(torch.tensor(bias))
    return runner


@torch.no_grad()
def embed(runner):
    """One image at a time: embeddings ``(L, D)``, scores and labels."""
    model = runner.model.eval()
    for sample in runner.train_dataloader.dataset:
        views = sample['inputs']
        inputs = [[view] for view in views] if isinstance(views, list) else [views]
        data = model.data_preprocessor(
            dict(inputs=inputs, data_samples=[sample['data_samples']])
        )
        (embeddings,) = model.extract_feat(data['inputs'])
        scores = model.head((embeddings,)).sigmoid().tolist()
        for view, (row, data_sample) in enumerate(zip(scores, data['data_samples'])):
            target = data_sample.gt_score.tolist()
            yield embeddings[view], row, [i for i, y in enumerate(target) if y == 1]


def oracle(runner, thr):
    """Lists of the embeddings that make each prototype, and how many are sure."""
    sure, present = [[] for _ in range(3)], [[] for _ in range(3)]
    for embeddings, scores, labels in embed(runner):
        for label in labels:
            present[label].append(embeddings[label])
            if scores[label] > thr:
                sure[label].append(embeddings[label])
    return [a or b for a, b in zip(sure, present)], [len(rows) for rows in sure]


# A label that is always sure, one that may be, one that never is.
BIAS = (30.0, 0.0, -30.0)


def test_prototypes(load, messages):
    runner = prepare(load(), BIAS)
    # Between the two scores of the second label that are furthest apart.
    scores = sorted(scores[1] for _, scores, labels in embed(runner) if 1 in labels)
    gaps = [(b - a, (a + b) / 2) for a, b in zip(scores, scores[1:])]
    thr = max(gaps)[1]
    used, counts = oracle(runner, thr)
    assert counts[0] == 4 and 0 < counts[1] < 4 and counts[2] == 0
    assert [len(rows) for rows in used] == [4, counts[1], 4]
    head = runner.model.head
    before = head.prototypes.clone()
    PrototypeInitHook(thr).before_train(runner)
    for label, rows in enumerate(used):
        mean = sum(rows) / len(rows)
        torch.testing.assert_close(
            head.prototypes.detach()[label], mean, rtol=1e-4, atol=1e-5
        )
        assert not torch.equal(head.prototypes[label], before[label])
    for slot in head.memory:
        assert torch.equal(slot, head.prototypes)
    assert isinstance(head.prototypes, torch.nn.Parameter)
    assert head.prototypes.requires_grad

    (message,) = messages
    assert 'of 3 labels, each from 0 to 4 embeddings' in message
    assert f'over {thr}. 1 labels have none' in message
    assert '0 are in no image' in message


def test_label_without_an_image(load, messages):
    """It keeps its prototype; with two images the third label has none."""
    runner = prepare(load({'train_dataloader.dataset.indices': 2}), BIAS)
    assert len(runner.train_dataloader.dataset) == 2
    before = runner.model.head.prototypes.clone()
    used, _ = oracle(runner, 0.85)
    assert [len(rows) for rows in used] == [1, 1, 0]
    PrototypeInitHook().before_train(runner)
    after = runner.model.head.prototypes
    assert torch.equal(after[2], before[2])
    torch.testing.assert_close(after[0], used[0][0], rtol=1e-4, atol=1e-5)
    assert '1 are in no image' in messages[0]


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_each_image_counts_once(load, messages, sampler):
    """Whatever the training's sampler repeats, or its last batch leaves out."""
    cfg = load(
        {
            'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=2),
            'train_dataloader.sampler.type': sampler,
            'train_dataloader.batch_size': 5,
            'train_dataloader.drop_last': True,
        }
    )
    runner = prepare(cfg, BIAS)
    used, _ = oracle(runner, 0.5)
    PrototypeInitHook(thr=0.5).before_train(runner)
    for label, rows in enumerate(used):
        torch.testing.assert_close(
            runner.model.head.prototypes.detach()[label],
            sum(rows) / len(rows),
            rtol=1e-4,
            atol=1e-5,
        )


def test_all_views_and_no_unknown_label(load, messages):
    """Both views of an image count; a label that is not known does not."""
    cfg = load({'data_preprocessor.num_views': 2})
    data = cfg.train_dataloader.dataset
    flip = dict(type='RandomFlip', prob=1.0)
    last = data.pipeline[-1]
    views = dict(type='MultiView', num_views=[1, 1], transforms=[[flip], []])
    data.pipeline = [*data.pipeline[:-1], views, last]
    cfg.train_dataloader.dataset = dict(type='HideLabels', keep=0.5, dataset=data)
    runner = prepare(cfg, BIAS)
    rows = list(embed(runner))
    assert len(rows) == 2 * len(runner.train_dataloader.dataset)
    # the views differ
    assert not torch.allclose(rows[0][0], rows[1][0])
    targets = [
        item['data_samples'].gt_score for item in runner.train_dataloader.dataset
    ]
    assert (torch.stack(targets) == -1).any()
    used, _ = oracle(runner, 0.5)
    before = runner.model.head.prototypes.detach().clone()
    PrototypeInitHook(thr=0.5).before_train(runner)
    for label, rows in enumerate(used):
        torch.testing.assert_close(
            runner.model.head.prototypes.detach()[label],
            sum(rows) / len(rows) if rows else before[label],
            rtol=1e-4,
            atol=1e-5,
        )


def states():
    return (
        random.getstate(),
        tuple(map(str, np.random.get_state())),
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize('num_workers', [0, 1])
def test_leaves_no_trace(load, messages, num_workers):
    """Modes, random generators, statistics and the data loader are as before."""
    cfg = load(
        {
            'train_dataloader.num_workers': num_workers,
            'train_dataloader.persistent_workers': num_workers > 0,
        }
    )
    # One that draws random numbers.
    cfg.train_dataloader.dataset.pipeline.insert(2, dict(type='RandomFlip', prob=0.5))
    runner = prepare(cfg)
    model, loader = runner.model.train(), runner.train_dataloader
    model.backbone.layer1.eval()
    weights = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if name not in ('head.prototypes', 'head.memory_bits')
    }
    before = states()
    PrototypeInitHook().before_train(runner)
    assert states() == before
    assert runner.train_dataloader is loader and loader._iterator is None
    for name, module in model.named_modules():
        assert module.training != name.startswith('backbone.layer1'), name
    for name, value in weights.items():
        assert torch.equal(model.state_dict()[name], value), name
    assert sum(len(batch['inputs']) for batch in loader) == 7


def test_in_a_run(load, record):
    """In a real training: once at its start, and not when it is resumed."""
    cfg = load({'train_cfg.max_epochs': 1})
    cfg.custom_hooks.append(dict(type='PrototypeInitHook', thr=0.3))
    runner = Runner.from_cfg(cfg)
    first = runner.model.head.prototypes.detach().clone()
    runner.train()
    (start,) = record.starts()
    assert not torch.equal(start.model['head.prototypes'], first)
    bits = start.model['head.prototypes'].view(torch.int32)
    assert torch.equal(start.model['head.memory_bits'], bits.expand(4, 3, 16))
    (log,) = Path(runner.log_dir).glob('*.log')
    assert log.read_text().count('Prototypes of 3 labels') == 1
    end = runner.model.head.prototypes.detach().clone()
    # The average began with them, not with random ones.
    ema = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model')).ema_model
    average = ema.module.head.prototypes
    distance = (average - start.model['head.prototypes']).norm()
    assert distance < 0.1 * (average - first).norm()

    cfg.resume, cfg.train_cfg.max_epochs = True, 2
    cfg.experiment_name = 'resumed'
    Runner.from_cfg(cfg).train()
    assert torch.equal(record.starts()[1].model['head.prototypes'], end)
    assert record.epochs() == [('work', 0), ('work', 1)]


def test_second_step(load_config, record):
    """From the embeddings of the weights that the step before left."""
    cfg = load_config({'model.neck': MODEL['model.neck']})
    cfg.train_dataloader.dataset.pipeline.pop(2)
    hooks = [*cfg.custom_hooks, dict(type='PrototypeInitHook', thr=0.3)]
    parts = ['head.prototypes', 'head.memory_bits']
    cfg.steps = dict(
        step1=dict(train_cfg=dict(max_epochs=1)),
        step2=dict(
            train_cfg=dict(max_epochs=1),
            model=dict(head=MODEL['model.head']),
            custom_hooks=hooks,
            fresh_parts=parts,
        ),
    )
    StepwiseRunner(cfg).train()
    first, second = (start.model for start in record.starts())
    name = 'neck.input_proj.weight'
    assert not torch.equal(first[name], second[name])

    cfg.merge_from_dict({'model.head': MODEL['model.head']})
    cfg.pop('steps'), cfg.pop('runner_type')
    runner = prepare(cfg)
    runner.model.load_state_dict(second)
    for label, rows in enumerate(oracle(runner, 0.3)[0]):
        torch.testing.assert_close(
            second['head.prototypes'][label],
            sum(rows) / len(rows),
            rtol=1e-4,
            atol=1e-5,
        )


def test_several_processes(load, tmp_path, run_processes):
    """Prototypes of all images in each process; memories go their own ways."""
    cfg = load({'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 7})
    cfg.custom_hooks = [dict(type='PrototypeInitHook', thr=0.3)]
    runner = Runner.from_cfg(cfg)
    runner.train_loop  # noqa: B018, builds it
    runner.model.init_weights()
    used, _ = oracle(runner, 0.3)
    expected = torch.stack([sum(rows) / len(rows) for rows in used])
    # The same weights for the processes.
    torch.save(runner.model.state_dict(), tmp_path / 'weights.pth')
    cfg.load_from, cfg.work_dir = str(tmp_path / 'weights.pth'), str(tmp_path / 'both')
    cfg.dump(tmp_path / 'config.py')

    ours, theirs = run_processes(SCRIPT, 2, str(tmp_path / 'config.py'))
    for result in (ours, theirs):
        torch.testing.assert_close(result['prototypes'], expected, rtol=1e-4, atol=1e-5)
        for slot in result['memory']:
            assert torch.equal(slot, result['prototypes'])
        assert not torch.equal(result['end'], result['memory'])
    assert torch.equal(ours['prototypes'], theirs['prototypes'])
    assert not torch.equal(ours['end'], theirs['end'])


def test_other_head(load_config):
    cfg = load_config()
    cfg.pop('steps'), cfg.pop('runner_type')
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match='SADCLHead.*is LabelWiseClsHead'):
        PrototypeInitHook().before_train(runner)


def test_no_classifier():
    model = torch.nn.Module()
    model.head = torch.nn.Identity()
    runner = SimpleNamespace(iter=0, model=model)
    with pytest.raises(ValueError, match='head of the model is NoneType'):
        PrototypeInitHook().before_train(runner)


@pytest.mark.parametrize('thr', [-0.1, 1.5])
def test_bad_threshold(thr):
    with pytest.raises(ValueError, match=f'between 0 and 1, got {thr}'):
        PrototypeInitHook(thr=thr)
