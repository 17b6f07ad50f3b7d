# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mlcl_plugin.datasets.transforms import LoadFeatureMap


@pytest.mark.parametrize(
    'content', [b'', b'no array', b"\x93NUMPY\x01\x00\x05\x00{'de\n"]
)
def test_damaged_files(content, tmp_path):
    path = tmp_path / 'maps.npy'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='maps.npy cannot be read as an array'):
        LoadFeatureMap(str(path))


def test_other_arrays(tmp_path):
    path = tmp_path / 'maps.npy'
    np.save(path, np.array([[[None]]]), allow_pickle=True)
    with pytest.raises(ValueError, match='maps.npy cannot be read as an array'):
        LoadFeatureMap(str(path))
    np.save(path, np.ones((2, 2, 3), dtype=int))
    with pytest.raises(ValueError, match='maps.npy holds int64, expected .* real'):
        LoadFeatureMap(str(path))
