# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.config import Config

from mlcl_plugin.engine import load_config, merge_options
from mlcl_plugin.tuning.best_config import check_base, write_best


def test_file_gives_the_values(write_config, tmp_path):
    """Also inside lists, and of steps."""
    base = write_config()
    values = {
        'optim_wrapper.optimizer.lr': 0.00123456789012345,
        'steps.step2.optim_wrapper.optimizer.lr': 0.5,
        'train_dataloader.dataset.pipeline.2.prob': 0.25,
        'train_dataloader.batch_size': 3,
        'model.head.loss': None,
    }
    cfg = load_config(base)
    merge_options(cfg, values)
    path = tmp_path / 'elsewhere' / 'best.py'
    path.parent.mkdir()
    write_best(path, base, cfg, values, 'A comment.')
    assert Config.fromfile(path).to_dict() == cfg.to_dict()
    assert path.read_text().splitlines()[0] == '# A comment.'


def test_dicts_replace_those_of_the_base(write_config, tmp_path):
    """Keys of the base do not come back."""
    base = write_config()
    optimizer = dict(type='SGD', momentum=0.9)
    values = {'optim_wrapper.optimizer': dict(optimizer, _delete_=True)}
    cfg = load_config(base)
    assert 'lr' in cfg.optim_wrapper.optimizer
    merge_options(cfg, values)
    path = tmp_path / 'best.py'
    write_best(path, base, cfg, values, 'A comment.')
    assert load_config(path).optim_wrapper.optimizer == optimizer


def test_base_that_cannot_be_one(tmp_path):
    """A config of MMEngine's new style cannot be the base of a plain one."""
    base = tmp_path / 'lazy.py'
    base.write_text(
        'from torch.optim import SGD\n\n'
        'optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))\n'
    )
    cfg, values = load_config(base), {'optim_wrapper.optimizer.lr': 0.2}
    merge_options(cfg, values)
    with pytest.raises(ValueError, match='does not work: .* in plain Python'):
        check_base(tmp_path, base, cfg, values)
    assert [path.name for path in tmp_path.iterdir()] == ['lazy.py']
