# SPDX-License-Identifier: Apache-2.0
import pytest

from mlcl_plugin.fit.backbone import Backbone
from tests.child_process import UNFORMATTED


@pytest.fixture
def tiny_backbone(monkeypatch):
    """A backbone that takes milliseconds, under the default's name."""
    monkeypatch.setattr(*UNFORMATTED)
    config = dict(
        type='ResNet',
        depth=18,
        stem_channels=8,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
        norm_eval=True,
    )
    found = Backbone('tiny', config, (127.0,) * 3, (64.0,) * 3)
    for module in ('features', 'find'):
        monkeypatch.setattr(
            f'mlcl_plugin.labelling.{module}.find_backbone', lambda name: found
        )
