# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.engine import check_checkpoint


def test_check_checkpoint(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    for missing in (path, tmp_path):
        with pytest.raises(FileNotFoundError) as info:
            check_checkpoint(str(missing))
        assert str(info.value) == f'Checkpoint {missing} does not exist.'
    path.touch()
    assert check_checkpoint(str(path)) == str(path)


def test_url():
    url = 'https://example.org/weights.pth'
    assert check_checkpoint(url) == url
