# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.child_process import UNFORMATTED


@pytest.fixture
def tiny_backbone(monkeypatch, small_backbone):
    """The small backbone under the default's name."""
    monkeypatch.setattr(*UNFORMATTED)
    for module in ('features', 'find'):
        monkeypatch.setattr(
            f'mlcl_plugin.labelling.{module}.find_backbone', lambda name: small_backbone
        )
