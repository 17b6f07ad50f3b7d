# SPDX-License-Identifier: Apache-2.0
"""Processes of test_tar_shards.py that train, and may kill themselves."""

import os
import signal
import sys
from unittest import mock

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from mlcl_plugin.commands import main
from tests.child_process import UNFORMATTED


@HOOKS.register_module(force=True)
class DrawnImagesHook(Hook):
    """Writes what is drawn, and may kill the process in the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 1 and runner.epoch == 1 and os.environ.get('KILL'):
            os.kill(os.getpid(), signal.SIGKILL)
        images = ' '.join(sample.img_path for sample in data_batch['data_samples'])
        with open(f'{os.environ["DRAWN"]}.{get_rank()}', 'a') as file:
            file.write(f'{runner.epoch} {images}\n')


def live(config, work_dir, drawn, kill, *options):
    """Train with the command; the images of each batch go to a file."""
    os.environ.update(DRAWN=str(drawn), KILL=kill)
    torch.set_num_threads(1)
    with mock.patch(*UNFORMATTED):
        main(['train', str(config), '--work-dir', str(work_dir), '--resume', *options])


if __name__ == '__main__':
    live(*sys.argv[4:], '--launcher', 'pytorch')
