# SPDX-License-Identifier: Apache-2.0
from mmengine.config import Config

from mlcl_plugin.engine import load_config, merge_options
from mlcl_plugin.tuning.best_config import write_best


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
