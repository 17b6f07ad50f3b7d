# SPDX-License-Identifier: Apache-2.0
import shutil

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mlcl_plugin.engine import checkpoint_loaders


@pytest.mark.parametrize('rank', [0, 1])
@pytest.mark.parametrize('shared', [True, False])
def test_weights_of_a_url(rank, shared, tmp_path, monkeypatch):
    """Each machine downloads them once, and they are read like a local file."""
    torch.save(dict(weight=torch.ones(2)), tmp_path / 'there.pth')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    downloads = []

    def download(url, path, progress):
        downloads.append(url)
        shutil.copy(tmp_path / 'there.pth', path)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(checkpoint_loaders, 'get_rank', lambda: rank)

    def wait():
        """The first process has downloaded them, here or on its own machine."""
        assert len(downloads) == (rank == 0)
        if rank == 1 and shared:
            shutil.copy(tmp_path / 'there.pth', tmp_path / 'hub/checkpoints/w.pth')

    monkeypatch.setattr(checkpoint_loaders, 'barrier', wait)
    for _ in range(2):
        content = CheckpointLoader.load_checkpoint('https://host/a/w.pth?x=1')
        assert content['weight'].tolist() == [1, 1]
        monkeypatch.setattr(checkpoint_loaders, 'barrier', lambda: None)
    assert downloads == ['https://host/a/w.pth?x=1'] * (rank == 0 or not shared)
