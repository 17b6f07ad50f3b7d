# SPDX-License-Identifier: Apache-2.0
import io
from types import SimpleNamespace

import pytest

from mlcl_plugin.tuning import tune
from tests.conftest import write_split

LR = 'steps.step2.optim_wrapper.optimizer.lr'
RANGES = {LR: '1e-3:0.1:log'}
CHOICES = {'train_dataloader.batch_size': [3, 6]}


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Folder with 21 training images, and nothing of the validation."""
    root = tmp_path_factory.mktemp('photos')
    write_split(root, 'train', 24, seed=0)
    return root


@pytest.fixture
def search(write_config, photos, tmp_path):
    """Function that searches with a tiny config; gives the result and what it says."""
    pytest.importorskip('optuna')

    def run(out='search', changes=None, **options):
        options = dict(ranges=RANGES, choices=CHOICES, trials=2, share=0.3) | options
        path = write_config({'train_cfg.max_epochs': 1, **(changes or {})}, root=photos)
        stream = io.StringIO()
        found = tune(path, tmp_path / out, stream=stream, **options)
        return SimpleNamespace(found=found, text=stream.getvalue(), config=path)

    return run
