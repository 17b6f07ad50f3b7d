# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper

from mlcl_plugin.engine import CheckedRunner, StepwiseRunner
from mlcl_plugin.engine.hooks import NonFiniteHook
from mlcl_plugin.engine.hooks.non_finite_hook import LEAST_SCALE
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint


class FaultHook(Hook):
    """Makes something nan in given iterations, counted from 0.

    Args:
        kind (str): 'loss', 'gradient', 'weight' (inf) or 'input'.
        iterations: Where.
    """

    priority = 'VERY_LOW'

    def __init__(self, kind, iterations):
        self.kind, self.iterations = kind, iterations
        self.now, self.states = False, []

    def before_train(self, runner):
        model = runner.model
        loss = model.head.loss

        def faulty_loss(*args, **kwargs):
            losses = loss(*args, **kwargs)
            if self.now and self.kind == 'loss':
                losses['loss_cls'] = losses['loss_cls'] * float('nan')
            return losses

        model.head.loss = faulty_loss
        model.neck.queries.register_hook(
            lambda g: g * float('nan') if self.now and self.kind == 'gradient' else g
        )
        preprocess = model.data_preprocessor.forward

        def faulty_preprocess(*args, **kwargs):
            data = preprocess(*args, **kwargs)
            if self.now and self.kind == 'input':
                data['inputs'][0, 0, 0, 0] = float('nan')
            return data

        model.data_preprocessor.forward = faulty_preprocess

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now = runner.iter in self.iterations
        if self.now and self.kind == 'weight':
            runner.model.head.classifier.weight.data[0, 0] = float('inf')
        self.states.append(copy_state(runner.model))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.now = False


def copy_state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def is_finite(state):
    return all(v.isfinite().all() for v in state.values() if v.is_floating_point())


@pytest.fixture
def make_runner(load_config, tmp_path):
    """Function that gives a plain run of two epochs of two iterations, with a fault."""

    def make(kind=None, iterations=(), changes=None, name='work', **fields):
        cfg = load_config(changes)
        cfg.pop('steps'), cfg.pop('runner_type')
        cfg.update(fields, work_dir=str(tmp_path / name))
        runner = CheckedRunner.from_cfg(cfg)
        runner.fault = FaultHook(kind, iterations)
        runner.register_hook(runner.fault)
        return runner

    return make


def add_hook(**options):
    """Change of the config that sets options of the hook."""
    ema = dict(type='EMAHook', momentum=0.1, update_buffers=True)
    return {'custom_hooks': [ema, dict(type='NonFiniteHook', **options)]}


MESSAGES = {
    'loss': r'^loss is nan; loss_cls is nan; the gradient of .* is not finite',
    'gradient': r'^the gradient of neck.queries is not finite',
    'weight': r'^loss is (nan|inf); loss_cls is (nan|inf); the gradient of ',
    'input': r'^loss is nan; .*the gradient of .* and \d+ more is not finite',
}


@pytest.mark.parametrize('kind', MESSAGES)
def test_stop(kind, make_runner, tmp_path):
    """The error names what, where and which images; nothing else is harmed."""
    runner = make_runner(kind, [3])
    message = MESSAGES[kind] + (
        r'.*in iteration 4 \(epoch 2, from 1\), images .*train/\d+\.png.* Weights and '
        r"the last checkpoint are intact\. .*NonFiniteHook', policy='skip'"
    )
    with pytest.raises(FloatingPointError, match=message) as info:
        runner.train()
    # The second batch has 3 of 7 images.
    assert str(info.value).count('.png') == 3
    work_dir = tmp_path / 'work'
    assert not (work_dir / 'epoch_2.pth').exists()
    checkpoint = read_checkpoint(work_dir / 'epoch_1.pth')
    assert is_finite(checkpoint['state_dict'])
    if kind != 'weight':
        before = runner.fault.states[-1]
        for name, value in runner.model.named_parameters():
            assert torch.equal(value, before[name])
    # Without the fault, the run goes on.
    make_runner(resume=True).train()
    assert is_finite(read_checkpoint(work_dir / 'epoch_2.pth')['state_dict'])


@pytest.mark.parametrize('kind', ['loss', 'gradient', 'input'])
def test_skip(kind, make_runner, monkeypatch):
    """The step leaves no trace: neither in weights, buffers, averages nor optimizer."""
    logged = []
    monkeypatch.setattr(
        'mlcl_plugin.engine.hooks.non_finite_hook.print_log',
        lambda text, *_: logged.append(text),
    )
    runner = make_runner(kind, [1], add_hook(policy='skip'))
    runner.train()
    text, end = logged
    assert end.startswith('1 of 4 steps were skipped')
    assert 'in iteration 2 (epoch 1, from 1)' in text
    assert text.endswith('The step is skipped (1 of at most 10).')
    before, after = runner.fault.states[1:3]
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]), name
    assert is_finite(runner.model.state_dict())
    ema = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model'))
    assert is_finite(ema.ema_model.state_dict())
    steps = {float(s['step']) for s in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {3.0}


def test_skip_is_limited(make_runner):
    runner = make_runner('loss', [0, 1, 2], add_hook(policy='skip', max_skips=2))
    with pytest.raises(FloatingPointError, match='in iteration 3 '):
        runner.train()
    runner = make_runner('loss', [1], add_hook(policy='skip', max_skips=0), 'other')
    with pytest.raises(FloatingPointError, match='in iteration 2 '):
        runner.train()


def test_skips_before_a_resume_count(make_runner, tmp_path):
    options = add_hook(policy='skip', max_skips=1)
    with pytest.raises(FloatingPointError, match='in iteration 4 '):
        make_runner('loss', [0, 3], options).train()
    latest = read_checkpoint(tmp_path / 'work/epoch_1.pth')
    assert latest['message_hub']['runtime_info']['skipped_steps'] == 1
    with pytest.raises(FloatingPointError, match='in iteration 3 '):
        make_runner('gradient', [2], options, resume=True).train()
    runner = make_runner(None, [], options, resume=True)
    runner.train()
    assert runner.message_hub.get_info('skipped_steps') == 1


def test_weights_stay_infinite_when_skipped(make_runner, tmp_path):
    """Skipping does not help, and the checkpoint is not saved."""
    runner = make_runner('weight', [2], add_hook(policy='skip'))
    message = r'Not finite after iteration 4: head\.classifier\.weight.* The che'
    with pytest.raises(FloatingPointError, match=message):
        runner.train()
    assert [p.name for p in (tmp_path / 'work').glob('*.pth')] == ['epoch_1.pth']


def test_only_a_logged_loss(make_runner):
    """Gradients are finite: the step is right, but the run stops."""
    runner = make_runner()
    step = runner.model.train_step

    def train_step(*args, **kwargs):
        outputs = step(*args, **kwargs)
        return {**outputs, 'loss_other': torch.tensor(float('inf'))}

    runner.model.train_step = train_step
    with pytest.raises(FloatingPointError, match='^loss_other is inf in iteration 1 '):
        runner.train()


def test_other_outputs_may_be_nan(make_runner):
    runner = make_runner()
    step = runner.model.train_step
    runner.model.train_step = lambda *args, **kwargs: {
        **step(*args, **kwargs),
        'temperature': float('nan'),
    }
    runner.train()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_large_gradients_are_finite(dtype):
    """Their squares overflow."""
    large = torch.finfo(dtype).max
    weights = [torch.nn.Parameter(torch.zeros(3, dtype=dtype)) for _ in range(2)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    hook = NonFiniteHook()
    for value, bad in ((large, 0), (float('inf'), 1), (float('nan'), 1)):
        for weight in weights:
            weight.grad = torch.full_like(weight, large)
        weights[1].grad[2] = value
        hook._bad_gradients = []
        hook._check_gradients(optimizer)
        assert len(hook._bad_gradients) == bad
        assert (weights[0].grad is None) == bool(bad)


def test_clipped_gradients(make_runner):
    """Clipping by a norm of nan makes all gradients nan."""
    changes = {'optim_wrapper.clip_grad': dict(max_norm=1.0)}
    with pytest.raises(FloatingPointError, match=r'the gradient of .* and \d+ more'):
        make_runner('gradient', [1], changes).train()


def test_accumulated_gradients(make_runner):
    """The loss is named where it occurs, before the step."""
    changes = {'optim_wrapper.accumulative_counts': 2}
    with pytest.raises(
        FloatingPointError, match='^loss is nan; loss_cls is nan in iter'
    ):
        make_runner('loss', [0], changes).train()


def test_bfloat16(make_runner):
    changes = {'optim_wrapper.type': 'AutocastOptimWrapper'}
    for kind in ('loss', 'gradient'):
        with pytest.raises(FloatingPointError, match=MESSAGES[kind]):
            make_runner(kind, [1], changes, kind).train()
    make_runner(None, [], changes, 'sound').train()


class CpuAmpOptimWrapper(AmpOptimWrapper):
    """MMEngine's wrapper with torch's scaler for CPUs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu')


@pytest.fixture
def with_scaler(make_runner, monkeypatch):
    """Function that gives a run with gradient scaling."""
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True
    )

    def make(*args, name='work'):
        changes = {'optim_wrapper': dict(type=CpuAmpOptimWrapper, dtype='bfloat16')}
        runner = make_runner(*args, changes=None, name=name)
        runner.optim_wrapper.update(changes['optim_wrapper'])
        return runner

    return make


def test_scaled_gradients(with_scaler):
    """A gradient that is not finite is left out by the scaler, which is no error."""
    runner = with_scaler('gradient', [1])
    runner.train()
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0**15
    before, after = runner.fault.states[1:3]
    assert torch.equal(before['neck.queries'], after['neck.queries'])
    with pytest.raises(
        FloatingPointError, match='loss is nan; loss_cls is nan in iter'
    ):
        with_scaler('loss', [1], name='loss').train()


def test_scale_that_vanishes(with_scaler):
    runner = with_scaler()

    class Scale(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            scaler = runner.optim_wrapper.loss_scaler
            scaler._init_scale = LEAST_SCALE / 2

    runner.register_hook(Scale())
    with pytest.raises(
        FloatingPointError, match=r'loss scale .* fallen to .*iteration 1'
    ):
        runner.train()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(policy='ignore'), "policy must be 'stop' or 'skip', got 'ignore'"),
        (dict(max_skips=-1), 'max_skips must not be negative, got -1'),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        NonFiniteHook(**options)


def test_registered_once(make_runner):
    for changes in (None, add_hook(policy='skip')):
        hooks = make_runner(changes=changes, name=str(changes is None)).hooks
        (hook,) = [hook for hook in hooks if isinstance(hook, NonFiniteHook)]
        assert hook.policy == ('stop' if changes is None else 'skip')


def test_second_step(load_config, record):
    """Steps have the hook too."""
    cfg = load_config({'steps.step2.optim_wrapper.optimizer.lr': 1e30})
    with pytest.raises(FloatingPointError, match=r'in iteration \d'):
        StepwiseRunner(cfg).train()
    assert (Path(cfg.work_dir) / 'step1/epoch_2.pth').exists()
    assert not list((Path(cfg.work_dir) / 'step2').glob('*.pth'))


@pytest.mark.parametrize('policy', ['stop', 'skip'])
def test_two_processes(write_config, run_processes, tmp_path, policy):
    """Both stop, or skip the step, where one of them has nan."""
    changes = {
        **add_hook(policy=policy),
        'train_dataloader.batch_size': 2,
        'train_cfg.max_epochs': 1,
    }
    script = Path(__file__).parent / 'non_finite_processes.py'
    config = write_config(changes)
    first, second = run_processes(script, 2, config, tmp_path / 'work')
    for name, value in first['parameters'].items():
        assert torch.equal(value, second['parameters'][name])
        assert value.isfinite().all()
    if policy == 'stop':
        assert second['error'].startswith('loss is nan; loss_cls is nan')
        assert first['error'].startswith('the gradient of ')
        assert 'The images of another process may be the cause' in first['error']
    else:
        assert first['error'] is second['error'] is None
        assert first['skips'] == second['skips'] == 1
