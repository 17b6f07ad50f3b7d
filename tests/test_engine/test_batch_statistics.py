# SPDX-License-Identifier: Apache-2.0
"""Statistics of batch norm in several processes; whole runs of two of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mlcl_plugin.engine import batch_statistics
from mlcl_plugin.engine.batch_statistics import average_statistics
from mlcl_plugin.engine.safe_checkpoint import read_checkpoint

SCRIPT = Path(__file__).parent / 'statistics_processes.py'


def is_statistic(name):
    return name.endswith(('running_mean', 'running_var'))


@pytest.fixture
def among(monkeypatch):
    """Function that averages models of processes, which are faked one by one."""

    def average(models):
        count = len(models)
        monkeypatch.setattr(batch_statistics, 'get_world_size', lambda: count)
        # What each process would send: its own values, first, then the differences.
        sent = []

        def stop(data):
            sent.append(data.clone())
            raise StopIteration

        monkeypatch.setattr(batch_statistics, 'broadcast', stop)
        for model in models:
            with pytest.raises(StopIteration):
                average_statistics(model)
        monkeypatch.setattr(
            batch_statistics, 'broadcast', lambda data: data.copy_(sent[0])
        )
        mean = sum(values - sent[0] for values in sent) / count
        monkeypatch.setattr(
            batch_statistics, 'all_reduce', lambda data, op: data.copy_(mean)
        )
        for model in models:
            average_statistics(model)

    return average


def make(seed):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2), nn.BatchNorm1d(2).half())
    for name, buffer in model.named_buffers():
        if is_statistic(name):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.1)
        else:
            buffer.fill_(seed)
    # Not a statistic: it belongs to the process.
    model.register_buffer('memory', torch.full((2,), float(seed)))
    return model


@pytest.mark.parametrize('count', [2, 3])
def test_mean(among, count):
    """Means over the processes, of several models at once; the rest stays."""
    models = [[make(10 * rank), make(10 * rank + 1)] for rank in range(count)]
    before = [[dict(m.state_dict()) for m in pair] for pair in models]
    before = [[{k: v.clone() for k, v in s.items()} for s in pair] for pair in before]
    among(models)
    for rank in range(count):
        for which in range(2):
            for name, value in models[rank][which].state_dict().items():
                old = [pair[which][name] for pair in before]
                expected = old[rank]
                if is_statistic(name):
                    expected = sum(x.double() for x in old) / count
                    expected = expected.to(value.dtype)
                    first = models[0][which].state_dict()[name]
                    torch.testing.assert_close(value, first, rtol=0, atol=0)
                torch.testing.assert_close(value, expected)


def test_equal_statistics_stay(among):
    """Three times a value, divided by three, is not always the value."""
    models = [[make(4)] for _ in range(3)]
    for model in models[1:]:
        model[0].load_state_dict(models[0][0].state_dict())
    before = {k: v.clone() for k, v in models[0][0].state_dict().items()}
    among(models)
    for (model,) in models:
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_one_process():
    model = make(1)
    average_statistics([model])
    assert torch.equal(model[0].running_mean, make(1)[0].running_mean)


def test_no_statistics(monkeypatch):
    """No communication with other processes, which would not answer."""
    monkeypatch.setattr(batch_statistics, 'get_world_size', lambda: 2)
    average_statistics([nn.Linear(2, 2)])


CHANGES = {
    'train_dataloader.batch_size': 2,
    'train_cfg.max_epochs': 2,
    'default_hooks.checkpoint': dict(by_epoch=False, interval=1, max_keep_ckpts=-1),
}


@pytest.mark.slow
@pytest.mark.parametrize(('update_buffers', 'stop_at'), [(True, 3), (False, 4)])
def test_processes(write_config, run_processes, tmp_path, update_buffers, stop_at):
    """All processes validate the saved model, and a resumed run equals a whole one."""
    hook = dict(type='EMAHook', momentum=0.1, update_buffers=update_buffers)
    config = write_config({**CHANGES, 'custom_hooks': [hook]})
    ranks = run_processes(SCRIPT, 2, config, tmp_path, stop_at)
    first, second = (rank['whole'] for rank in ranks)
    # They see different images.
    one, other = (run['trained'][0]['model'] for run in (first, second))
    assert {k for k in one if not torch.equal(one[k], other[k])} == {
        k for k in one if is_statistic(k)
    }
    assert_equal(first['validated'], second['validated'])
    # The run stopped before the checkpoint of its last iteration. A checkpoint from
    # before the first validation does not know of it.
    validations = 2 if stop_at == 3 else 1
    for rank in ranks:
        whole, part = rank['whole'], rank['part']
        assert_equal(part['trained'], whole['trained'][stop_at - 1 :])
        assert_equal(part['validated'], whole['validated'][-validations:])
        assert_equal(part['metrics'], whole['metrics'][-validations:])
    # The EMA hook validates and saves the average in place of the model.
    saved = read_checkpoint(tmp_path / 'whole/iter_4.pth')['state_dict']
    assert_equal(dict(saved), dict(second['validated'][-1]['model']))


def assert_equal(first, second, name=''):
    if isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key in first:
            assert_equal(first[key], second[key], f'{name}.{key}')
    elif isinstance(first, list):
        assert len(first) == len(second), name
        for i, pair in enumerate(zip(first, second)):
            assert_equal(*pair, f'{name}[{i}]')
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), name
    else:
        assert first == second, name
