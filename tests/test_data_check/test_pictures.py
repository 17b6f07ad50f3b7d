# SPDX-License-Identifier: Apache-2.0
import numpy as np

from mlcl_plugin.data_check.pictures import thumbnail


def test_thumbnail():
    image = np.zeros((1000, 500, 3), dtype=np.uint8)
    assert thumbnail(image).shape == (256, 128, 3)
    assert thumbnail(image[:10, :20]).shape == (10, 20, 3)
    assert thumbnail(np.zeros((5000, 1, 3), dtype=np.uint8)).shape == (256, 1, 3)
    assert thumbnail(None) is None
