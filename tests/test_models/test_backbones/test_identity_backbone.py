# SPDX-License-Identifier: Apache-2.0
import torch
from mmpretrain.registry import MODELS

from mlcl_plugin.models.backbones.identity_backbone import IdentityBackbone


def test_hands_on():
    backbone = MODELS.build(dict(type='IdentityBackbone'))
    assert isinstance(backbone, IdentityBackbone)
    for shape in ((2, 5), (2, 5, 3, 3)):
        x = torch.randn(shape)
        (out,) = backbone(x)
        assert out is x
    assert not list(backbone.parameters()) and not backbone.state_dict()


def test_in_a_classifier():
    """What goes in is what neck and head get."""
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='IdentityBackbone'),
            neck=dict(type='GlobalAveragePooling'),
        )
    )
    maps = torch.randn(2, 5, 3, 3)
    (pooled,) = model.extract_feat(maps)
    torch.testing.assert_close(pooled, maps.mean(dim=(2, 3)))
    assert model.extract_feat(maps, stage='backbone')[0] is maps
