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
    # '>f4' has the bytes in the other order.
    for kind in ('int64', '>f4', 'longdouble'):
        np.save(path, np.ones((2, 2, 3), dtype=kind))
        message = f'maps.npy holds {np.dtype(kind)}, expected an array of float16'
        with pytest.raises(ValueError, match=message):
            LoadFeatureMap(str(path))


@pytest.mark.parametrize('in_place', [True, False])
def test_file_that_is_made_anew(in_place, tmp_path):
    """Its features are read, and not those of the file before."""
    path = tmp_path / 'maps.npy'
    transform = None
    for value in (1.0, 2.0):
        new = path if in_place else tmp_path / 'new.npy'
        if in_place:
            path.unlink(missing_ok=True)
        np.save(new, np.full((2, 1, 3), value, dtype=np.float16))
        new.replace(path)
        transform = transform or LoadFeatureMap(str(path))
        assert transform.transform(dict(feature_index=1))['img'].tolist() == [value] * 3
