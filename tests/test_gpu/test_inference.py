# SPDX-License-Identifier: Apache-2.0
"""Scores of images: the same as by the CPU."""

from pathlib import Path

import numpy as np
import pytest

from mlcl_plugin.digits_demo.parts import photograph
from mlcl_plugin.inference import MultiLabelInferencer

pytestmark = pytest.mark.gpu
TOLERANCE = {'float32': 1e-4, 'float16': 0.02, 'bfloat16': 0.05}
"""The largest difference of a score, from 0 to 1, from the CPU's in float32."""


def scores_of(inferencer, images, **options):
    answers = inferencer(images, batch_size=4, return_scores=True, **options)
    return np.array([list(answer['scores'].values()) for answer in answers]), answers


@pytest.mark.slow
@pytest.mark.parametrize('precision', TOLERANCE)
def test_digits(trained_digits, digit_scenes, precision, device):
    (checkpoint,) = trained_digits('float32').glob('step2/epoch_2.pth')
    images = sorted(map(str, Path(digit_scenes, 'val').glob('*.png')))[:10]
    config = 'mlcl_resnet_digits'
    expected, known = scores_of(
        MultiLabelInferencer(config, str(checkpoint), 'cpu'),
        images,
        return_attention=True,
    )
    inferencer = MultiLabelInferencer(
        config, str(checkpoint), device, precision=precision
    )
    found, answers = scores_of(inferencer, images, return_attention=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[precision])
    if precision == 'float32':
        for answer, other in zip(answers, known):
            for label, same in zip(answer['labels'], other['labels'], strict=True):
                assert label['label'] == same['label']


@pytest.mark.parametrize('precision', TOLERANCE)
def test_shipped_weights(precision, device):
    """With memories of neighbours, whose products are exact on every device."""
    pytest.importorskip('timm')
    pytest.importorskip('safetensors')
    expected, _ = scores_of(MultiLabelInferencer(device='cpu'), [photograph()])
    inferencer = MultiLabelInferencer(device=device, precision=precision)
    found, _ = scores_of(inferencer, [photograph()])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[precision])
