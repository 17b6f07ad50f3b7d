# SPDX-License-Identifier: Apache-2.0
import copy
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS

from mlcl_plugin.datasets import CocoMultiLabel
from mlcl_plugin.datasets.hide_labels import HideLabels  # noqa: F401 (registers)
from mlcl_plugin.engine.hooks import mile_hook
from mlcl_plugin.engine.hooks.mile_hook import KEY, MILeHook
from tests.marks import rare

MEAN, STD = 127.5, 64.0
EMA = dict(type='EMAHook', momentum=0.3, update_buffers=True, priority='ABOVE_NORMAL')
LOAD = [dict(type='LoadImage'), dict(type='LabelsToTargets', num_classes=3)]
VIEWS = [
    dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)
]
MULTI_VIEW = dict(
    type='MultiView', num_views=[1, 1], transforms=[[view] for view in VIEWS]
)


class Stop(Exception):
    """Stands for whatever kills a run."""


class Before(Hook):
    """Keep what the dataloader gives."""

    priority = 'VERY_HIGH'

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append(copy.deepcopy(data_batch))


class After(Hook):
    """Keep what the model gets to learn from, and what it was then."""

    priority = 'VERY_LOW'

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.targets, self.expected, self.models, self.samples = [], [], [], []

    def before_train(self, runner):
        self.start = copy.deepcopy(runner.model)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.stop_at:
            raise Stop
        self.samples.append(data_batch['data_samples'])
        self.targets.append(stack(data_batch))
        self.models.append(copy_state(runner.model))
        hook = mile(runner)
        self.expected.append(hook.teacher and find(hook, data_batch['inputs']))


def stack(batch):
    return torch.stack([sample.gt_score for sample in batch['data_samples']])


def copy_state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def mile(runner):
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, MILeHook))
    return hook


def normalise(inputs):
    # to_rgb of the data preprocessor
    return (inputs.flip(1).float() - MEAN) / STD


@torch.no_grad()
def find(hook, inputs):
    """The labels that the teacher finds, by each view for itself."""
    views = inputs if isinstance(inputs, list) else [inputs]
    assert not hook.teacher.training
    scores = [
        hook.teacher.head(hook.teacher.extract_feat(normalise(view))).sigmoid()
        for view in views[: 1 if hook.views == 'first' else None]
    ]
    return (sum(scores) / len(scores) > hook.thr).float()


@pytest.fixture
def make(load_config):
    """Function that gives a plain run with the hook: 2 iterations an epoch."""

    def make(
        changes=None, hide=None, multi_view=False, hooks=(), work_dir=None, **options
    ):
        cfg = load_config({'train_cfg.max_epochs': 3, **(changes or {})})
        cfg.work_dir = work_dir or cfg.work_dir
        cfg.pop('steps'), cfg.pop('runner_type')
        # Scores far from one another, so that one label is found here, another there.
        xavier = dict(type='Xavier', layer='Linear', distribution='uniform')
        cfg.model.neck.init_cfg = [xavier]
        cfg.model.head.init_cfg = [
            dict(type='Normal', layer='LabelWiseLinear', std=2.0, bias=0.0)
        ]
        dataset = cfg.train_dataloader.dataset
        # Nothing random, which a resumed run would have elsewise.
        dataset.pipeline = [
            *LOAD,
            *([MULTI_VIEW] if multi_view else []),
            dict(type='PackInputs'),
        ]
        if hide is not None:
            hide = dict(type='HideLabels', dataset=dataset, **hide)
            cfg.train_dataloader.dataset = hide
        options = dict(teacher_iters=1, student_iters=4) | options
        cfg.custom_hooks = [*hooks, dict(type='MILeHook', **options)]
        return cfg

    return make


def run(cfg, stop_at=None):
    runner = Runner.from_cfg(cfg)
    before, after = Before(), After(stop_at)
    runner.register_hook(before)
    runner.register_hook(after)
    if stop_at is None:
        runner.train()
    else:
        with pytest.raises(Stop):
            runner.train()
    return runner, before, after


def assert_same(state, expected, **tolerance):
    assert state.keys() == expected.keys()
    tolerance = tolerance or dict(rtol=0, atol=0)
    for key, value in expected.items():
        torch.testing.assert_close(
            state[key], value, **tolerance, msg=lambda m, key=key: f'{key}: {m}'
        )


def by_hand(start, batches, hook, lr):
    """The training as one plain loop, from the first model and the batches."""
    model = start.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    teacher = None
    for number, batch in enumerate(batches):
        images = normalise(batch['inputs'])
        targets = stack(batch)
        phase = number % (hook.teacher_iters + hook.student_iters)
        if phase == hook.teacher_iters:
            teacher = copy.deepcopy(model).eval()
        if phase >= hook.teacher_iters:
            with torch.no_grad():
                found = teacher(images, mode='tensor').sigmoid() > hook.thr
            if hook.with_ground_truth:
                found = found | (targets == 1)
            targets = found.float()
        logits = model(images, mode='tensor')
        losses = F.binary_cross_entropy_with_logits(
            logits, targets.clamp(min=0), reduction='none'
        )
        known = (targets >= 0).float()
        optimizer.zero_grad()
        ((losses * known).sum() / known.sum()).backward()
        optimizer.step()
    return model.state_dict()


SGD = {'optim_wrapper.optimizer': dict(_delete_=True, type='SGD', lr=0.02)}
LABELS = dict(
    full=None,
    partial=dict(keep=0.6),
    single_positive=dict(mode='single_positive', unknown_as=0),
)


@pytest.mark.parametrize('labels', LABELS)
def test_against_plain_loop(make, record, labels):
    options = dict(teacher_iters=2, student_iters=2, thr=0.45)
    options['with_ground_truth'] = labels == 'partial'
    cfg = make(SGD, hide=LABELS[labels], **options)
    runner, before, after = run(cfg)
    hook = mile(runner)
    expected = by_hand(after.start, before.batches, hook, 0.02)
    assert_same(runner.model.state_dict(), expected, rtol=1e-4, atol=1e-5)

    # iterations 0, 1 and 4, 5 are those of a teacher
    for number, (batch, targets) in enumerate(zip(before.batches, after.targets)):
        given = stack(batch)
        if number in (2, 3):
            assert set(targets.unique().tolist()) == {0, 1}
            wanted = after.expected[number]
            if hook.with_ground_truth:
                wanted = torch.maximum(wanted, (given == 1).float())
            torch.testing.assert_close(targets, wanted, rtol=0, atol=0)
            assert not torch.equal(targets, given)
        else:
            assert after.expected[number] is None
            torch.testing.assert_close(targets, given, rtol=0, atol=0)
    has_unknown = any((stack(batch) == -1).any() for batch in before.batches)
    assert has_unknown == (labels == 'partial')


def test_labels_of_an_iteration(make, record):
    """A sample's gt_score is all that is said of its labels."""
    _, before, after = run(make({'train_cfg.max_epochs': 1}))
    (first, second) = after.samples
    assert all('gt_label' in sample for sample in first)
    assert not any('gt_label' in sample for sample in second)
    given = before.batches[1]['data_samples']
    assert [x.img_path for x in second] == [x.img_path for x in given]


@DATASETS.register_module()
class KeptInMemory(CocoMultiLabel):
    """Gives the very objects that it gave before."""

    kept = {}

    def __getitem__(self, idx):
        if idx not in self.kept:
            self.kept[idx] = super().__getitem__(idx)
        return self.kept[idx]


def test_samples_of_the_dataset_are_left_alone(make, record):
    KeptInMemory.kept.clear()
    changes = {'train_dataloader.dataset.type': 'KeptInMemory'}
    _, before, after = run(make(changes))
    assert len(KeptInMemory.kept) == 7
    for item in KeptInMemory.kept.values():
        sample = item['data_samples']
        # image n has the labels that are set in the binary number n + 1
        number = int(Path(sample.img_path).stem) + 1
        assert sample.gt_score.tolist() == [number >> i & 1 for i in range(3)]
        assert sample.gt_label.tolist() == [i for i in range(3) if number >> i & 1]
    # where it would have shown
    changed = [
        not torch.equal(stack(b), t) for b, t in zip(before.batches, after.targets)
    ]
    assert changed[1:5] == [True] * 4 and not changed[0]


@pytest.mark.parametrize('views', ['mean', 'first'])
def test_views(make, record, views):
    changes = {'train_cfg.max_epochs': 1, 'data_preprocessor.num_views': 2}
    runner, before, after = run(make(changes, multi_view=True, views=views))
    batch = before.batches[1]
    assert isinstance(batch['inputs'], list) and len(batch['data_samples']) == 3
    # One target for all views of an image.
    torch.testing.assert_close(after.targets[1], after.expected[1], rtol=0, atol=0)

    # A threshold at which it shows which of the views were asked.
    hook = mile(runner)
    with torch.no_grad():
        first, second = (
            hook.teacher.head(hook.teacher.extract_feat(normalise(view))).sigmoid()
            for view in batch['inputs']
        )
    mean = (first + second) / 2
    place = (first - mean).abs().argmax()
    hook.thr = float((first.flatten()[place] + mean.flatten()[place]) / 2)
    runner.train_loop._iter = 2
    hook.before_train_iter(runner, 0, batch)
    found = dict(mean=mean > hook.thr, first=first > hook.thr)
    assert not torch.equal(*found.values())
    assert torch.equal(stack(batch) == 1, found[views])


INSIDE_STUDENT = dict(teacher_iters=1, student_iters=4)
BEFORE_STUDENT = dict(teacher_iters=2, student_iters=2)
BEFORE_TEACHER = dict(teacher_iters=1, student_iters=1)


@pytest.mark.parametrize(
    ('options', 'taken', 'hooks'),
    [
        (INSIDE_STUDENT, 1, [EMA]),
        (BEFORE_STUDENT, None, []),
        (BEFORE_TEACHER, None, [EMA]),
        rare(INSIDE_STUDENT, 1, []),
        rare(BEFORE_STUDENT, None, [EMA]),
        rare(BEFORE_TEACHER, None, []),
    ],
)
def test_resume_same_as_uninterrupted(make, record, tmp_path, options, taken, hooks):
    cfg = make(hooks=hooks, work_dir=str(tmp_path / 'whole'), **options)
    run(cfg)
    cfg = make(hooks=hooks, work_dir=str(tmp_path / 'part'), **options)
    run(copy.deepcopy(cfg), stop_at=2)
    saved = torch.load(tmp_path / 'part/epoch_1.pth', weights_only=False)
    assert saved['meta']['iter'] == 2
    assert saved.get(KEY, {}).get('iter') == taken
    cfg.resume = True
    run(cfg)
    for epoch in (2, 3):
        whole, part = (
            torch.load(tmp_path / f'{name}/epoch_{epoch}.pth', weights_only=False)
            for name in ('whole', 'part')
        )
        assert_same(part['state_dict'], whole['state_dict'])
        assert (KEY in part) == (KEY in whole)
        if hooks:
            assert_same(part['ema_state_dict'], whole['ema_state_dict'])
        if KEY in whole:
            assert part[KEY]['iter'] == whole[KEY]['iter']
            assert_same(part[KEY]['state_dict'], whole[KEY]['state_dict'])


def test_resume_without_the_teacher_would_differ(make, record):
    """The test above can tell: a copy taken later finds other labels."""
    runner, before, after = run(make({'train_cfg.max_epochs': 1}))
    hook = mile(runner)
    images = torch.cat([batch['inputs'] for batch in before.batches])
    found = find(hook, images)
    hook.teacher.load_state_dict(runner.model.state_dict())
    assert not torch.equal(find(hook, images), found)
    assert not torch.equal(after.models[1]['neck.queries'], runner.model.neck.queries)


def test_resume_by_iterations(make, record, tmp_path):
    """A loop without epochs, killed within what would be one."""
    changes = {
        'train_dataloader.sampler.type': 'InfiniteSampler',
        'default_hooks.checkpoint': dict(by_epoch=False, interval=3),
    }
    cfg = make(changes, hooks=[EMA], work_dir=str(tmp_path / 'whole'))
    cfg.train_cfg = dict(by_epoch=False, max_iters=6, val_interval=2)
    run(copy.deepcopy(cfg))
    cfg.work_dir = str(tmp_path / 'part')
    run(copy.deepcopy(cfg), stop_at=4)
    cfg.resume = True
    _, _, after = run(cfg)
    assert len(after.targets) == 3
    whole, part = (
        torch.load(tmp_path / f'{name}/iter_6.pth', weights_only=False)
        for name in ('whole', 'part')
    )
    assert_same(part['state_dict'], whole['state_dict'])
    assert (
        torch.load(tmp_path / 'part/iter_3.pth', weights_only=False)[KEY]['iter'] == 1
    )


def test_copy_is_of_trained_weights(make, record):
    """Taken right after a validation, for which EMA weights take their place."""
    runner, _, after = run(make(hooks=[EMA], teacher_iters=2, student_iters=3))
    hook = mile(runner)
    # taken at 2, after the first epoch and its validation
    (ema,) = (h.ema_model.module for h in runner.hooks if hasattr(h, 'ema_model'))
    assert hook.taken_at is None
    saved = torch.load(Path(runner.work_dir) / 'epoch_2.pth', weights_only=False)
    assert saved[KEY]['iter'] == 2
    assert_same(saved[KEY]['state_dict'], after.models[2])
    first = torch.load(Path(runner.work_dir) / 'epoch_1.pth', weights_only=False)
    assert not torch.equal(
        first['state_dict']['neck.queries'], after.models[2]['neck.queries']
    )
    assert 'mile' not in ''.join(ema.state_dict())


def test_teacher_is_frozen(make, record):
    """The same all through a phase, and not a part of the model."""
    runner, _, _ = run(make({'train_cfg.max_epochs': 2}))
    hook = mile(runner)
    whole = [
        torch.load(Path(runner.work_dir) / f'epoch_{n}.pth', weights_only=False)
        for n in (1, 2)
    ]
    assert_same(whole[0][KEY]['state_dict'], whole[1][KEY]['state_dict'])
    assert not any(p.requires_grad for p in hook.teacher.parameters())
    assert all(p.requires_grad for p in runner.model.parameters())
    assert all(p.grad is None for p in hook.teacher.parameters())
    optimized = {
        id(p) for group in runner.optim_wrapper.param_groups for p in group['params']
    }
    assert optimized == {id(p) for p in runner.model.parameters()}
    assert set(whole[1]['state_dict']) == set(runner.model.state_dict())


def test_steps(load_config, record):
    """Each step counts by itself, and takes no teacher over from the one before."""
    options = dict(type='MILeHook', teacher_iters=1, student_iters=4)
    cfg = load_config({'custom_hooks': [EMA, options, dict(type='RecordHook')]})
    RUNNERS.build(cfg).train()
    work_dir = Path(cfg.work_dir)
    first, second = (
        torch.load(work_dir / path, weights_only=False)[KEY]
        for path in ('step1/epoch_2.pth', 'step2/epoch_1.pth')
    )
    assert first['iter'] == second['iter'] == 1
    assert 'head.projector.fc1.weight' in second['state_dict']
    assert not torch.equal(
        first['state_dict']['neck.queries'], second['state_dict']['neck.queries']
    )


calls = []


def note(module, args, output):
    autocast = torch.is_autocast_enabled('cpu')
    calls.append((module.training, autocast, torch.is_grad_enabled()))


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_precision(make, record, wrapper):
    """The teacher runs as the model is trained, without gradient."""
    cfg = make({'train_cfg.max_epochs': 1, 'optim_wrapper.type': wrapper})
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    # a copy of the model has it, too
    runner.model.backbone.register_forward_hook(note)
    calls.clear()
    runner.train()
    half = wrapper == 'AutocastOptimWrapper'
    assert calls == [(True, half, True), (False, half, False), (True, half, True)]


def test_random_numbers_of_training_are_left_alone(make, record):
    """As if nobody had taught: the state of the generator goes on from there."""
    states = []
    for options in (dict(), dict(teacher_iters=100)):
        run(make({'train_cfg.max_epochs': 1}, **options))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_two_processes(write_config, run_processes):
    """One teacher, which labels for each process what that one has."""
    config = write_config(
        {
            'train_cfg.max_epochs': 2,
            'train_dataloader.batch_size': 2,
            'custom_hooks': [EMA, dict(type='MILeHook', teacher_iters=1)],
        }
    )
    script = Path(__file__).parent / 'mile_processes.py'
    ranks = run_processes(script, 2, config)
    first, second = ranks
    assert_same(first['teacher'], second['teacher'])
    # statistics of batch norm: each had its own, the teacher has the mean
    key = 'backbone.bn1.running_mean'
    assert not torch.equal(first['model'][key], second['model'][key])
    mean = (first['model'][key] + second['model'][key]) / 2
    torch.testing.assert_close(first['teacher'][key], mean)
    key = 'neck.queries'
    torch.testing.assert_close(first['teacher'][key], first['model'][key])
    for rank in ranks:
        assert len(rank['targets']) == 3
        for targets, expected in zip(rank['targets'], rank['expected']):
            torch.testing.assert_close(targets, expected, rtol=0, atol=0)
    assert first['paths'] != second['paths']
    for key, value in first['parameters'].items():
        torch.testing.assert_close(value, second['parameters'][key], rtol=0, atol=0)


def test_resume_with_other_lengths(make, record):
    run(make(), stop_at=2)
    cfg = make(teacher_iters=1, student_iters=5)
    cfg.resume = True
    # the same phase so far: it goes on
    run(cfg)
    cfg = make(teacher_iters=3, student_iters=9)
    cfg.resume = True
    message = 'Iteration 6 lies in the student phase that begins at 3, but .* holds '
    with pytest.raises(ValueError, match=rf'{message}.*Resume with the teacher_iters'):
        Runner.from_cfg(cfg).train()


def test_resume_with_the_teacher_of_another_phase(make, record):
    # the teacher of iteration 1, in a checkpoint of its phase
    run(make(teacher_iters=1, student_iters=9), stop_at=4)
    cfg = make(teacher_iters=2, student_iters=9)
    cfg.resume = True
    message = 'phase that begins at 2, but .* holds the teacher of iteration 1'
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(cfg).train()


def test_resume_of_a_run_without_it(make, record):
    cfg = make()
    (hook,) = cfg.custom_hooks
    cfg.custom_hooks = []
    runner = Runner.from_cfg(cfg)
    runner.train()
    cfg = make({'train_cfg.max_epochs': 4}, teacher_iters=4, student_iters=4)
    cfg.resume = True
    with pytest.raises(ValueError, match='holds no teacher'):
        Runner.from_cfg(cfg).train()
    # its weights alone will do
    cfg.load_from, cfg.resume = str(Path(cfg.work_dir) / 'epoch_3.pth'), False
    _, _, after = run(cfg)
    assert after.expected[3] is None and after.expected[4] is not None


def test_batch_augments(make, record):
    augments = dict(augments=dict(type='Mixup', alpha=0.8))
    changes = {'data_preprocessor.batch_augments': augments}
    with pytest.raises(ValueError, match='Train without batch_augments'):
        Runner.from_cfg(make(changes)).train()


def test_head_without_number_of_labels(make, record):
    head = dict(type='CSRAClsHead', num_classes=3, in_channels=16, num_heads=1, lam=0.1)
    cfg = make()
    cfg.model.neck, cfg.model.head = None, head
    with pytest.raises(ValueError, match='ImageClassifier with the head CSRAClsHead'):
        Runner.from_cfg(cfg).train()


def test_batch_of_another_form(make, record):
    runner, before, _ = run(make({'train_cfg.max_epochs': 1}))
    runner.train_loop._iter = 1
    with pytest.raises(ValueError, match='inputs and data_samples, got list'):
        mile(runner).before_train_iter(runner, 1, [before.batches[0]])
    batch = before.batches[0]
    batch['inputs'] = batch['inputs'][:3]
    with pytest.raises(ValueError, match='3 images for 4 data samples'):
        mile(runner).before_train_iter(runner, 1, batch)


def test_too_short_to_have_an_effect(make, record, monkeypatch):
    messages = []
    monkeypatch.setattr(
        mile_hook, 'print_log', lambda message, **kwargs: messages.append(message)
    )
    for teacher_iters in (1, 2):
        run(make({'train_cfg.max_epochs': 1}, teacher_iters=teacher_iters))
    (message,) = messages
    assert re.search('no effect: the training ends after 2 .* teacher_iters=2', message)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(teacher_iters=0), 'teacher_iters must be an int of 1 or more, got 0'),
        (dict(student_iters=2.5), 'student_iters must be an int of 1 or more, got 2.5'),
        (dict(thr=0.0), 'thr must lie between 0 and 1, got 0'),
        (dict(thr=1.0), 'got 1.0'),
        (dict(views='all'), "views must be 'mean' or 'first', got 'all'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        HOOKS.build(dict(type='MILeHook', **options))


def test_phases():
    hook = MILeHook(teacher_iters=3, student_iters=2)
    starts = [hook.copied_at(number) for number in range(11)]
    none = [None] * 3
    assert starts == [*none, 3, 3, *none, 8, 8, None]
