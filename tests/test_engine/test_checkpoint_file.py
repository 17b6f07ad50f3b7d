# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.engine import check_checkpoint
from mlcl_plugin.errors import CheckpointError


def test_check_checkpoint(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    with pytest.raises(FileNotFoundError) as info:
        check_checkpoint(str(path))
    assert str(info.value) == f'Checkpoint {path} does not exist.'
    with pytest.raises(CheckpointError, match='expected a file, got a folder'):
        check_checkpoint(str(tmp_path))
    path.touch()
    assert check_checkpoint(str(path)) == str(path)


def test_url():
    url = 'https://example.org/weights.pth'
    assert check_checkpoint(url) == url
