# SPDX-License-Identifier: Apache-2.0
"""Every method of the comparison can be given neighbours, and be exported with them."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain import get_model
from mmpretrain.registry import MODELS

from mlcl_plugin.apis import fit_neighbours
from mlcl_plugin.engine import base_config, step_config
from mlcl_plugin.engine.steps import step_names
from mlcl_plugin.inference import build_model
from mlcl_plugin.inference.fit_neighbours import find_neighbours
from mlcl_plugin.models import (
    ContrastiveHead,
    LabelWiseClsHead,
    NeighbourClassifier,
    PartialLabelCSRAHead,
)
from mlcl_plugin.models.neighbours import blend

CONFIGS = Path(__file__).parents[2] / 'configs'
# The last step of each method, by the name of its recipe, on the smallest network.
RECIPES = {
    path.stem.removesuffix('_resnet_digits'): path
    for path in sorted(CONFIGS.rglob('*_resnet_digits.py'))
    if '_base_' not in path.parts
}
LABEL, IMAGE = dict(type='LabelNeighbours'), dict(type='ImageNeighbours')
WINDOWS = dict(type='PooledLogistic', num_views=0, regions=0.5, grid=3, whole_share=0.5)
# Network and head are those of another one.
REPEATS = ('gap_asl', 'mile', 'mlcl_bce', 'mlcl_image_level', 'mlcl_within_label')
# They have parts of their own, but take their time.
LONG = ('cgmvae', 'gmp', 'kmcl', 'mlcl_neighbour_vote', 'query2label')


def three_labels(part):
    """Set the number of labels everywhere in a config."""
    if isinstance(part, dict):
        if 'num_classes' in part:
            part['num_classes'] = 3
        for value in part.values():
            three_labels(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            three_labels(value)


@pytest.fixture
def load_method(load_config):
    """Function that returns the config of a method for the tiny data set."""

    def load(name):
        recipe = Config.fromfile(RECIPES[name])
        for step in list(step_names(recipe))[-1:]:
            recipe = step_config(recipe, step)
        cfg = base_config(load_config())
        cfg.model = recipe.model
        three_labels(cfg.model)
        return cfg

    return load


def memories(cfg):
    """All kinds of neighbours that the head of a config allows, and their weights."""
    head = MODELS.build(cfg.model.head)
    found = [IMAGE]
    projector = isinstance(head, ContrastiveHead) and head.projector is not None
    if isinstance(head, LabelWiseClsHead):
        # With the temperature of the loss, if there is one.
        found = [*find_neighbours(cfg), *found]
    # CSRA classifies places.
    elif not isinstance(head, PartialLabelCSRAHead):
        found.append(dict(IMAGE, source='embeddings'))
    if projector:
        found.append(dict(found[0], source='projections'))
    found.append(WINDOWS)
    weights = [1 / (1 + len(found))] * (1 + len(found))
    return found, weights


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in REPEATS + LONG))
        for name in RECIPES
    ],
)
def test_neighbours(name, load_method, tmp_path):
    """Training images fill the memories, whose votes join the scores, exported too."""
    cfg = load_method(name)
    torch.manual_seed(0)
    plain = get_model(cfg.copy(), pretrained=False)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path / 'model.pth'
    meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'owl')))
    torch.save(dict(state_dict=plain.state_dict(), meta=meta), path)
    chosen, weights = memories(cfg)
    fitted = fit_neighbours(cfg, path, neighbours=chosen, weights=weights, device='cpu')
    model = build_model(Config.fromfile(fitted.config), str(fitted.checkpoint))
    assert isinstance(model, NeighbourClassifier)
    assert [item.source for item in model.memories] == [
        item.get('source', default.source)
        for item, default in zip(chosen, map(MODELS.build, chosen))
    ]
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        logits, votes = model.members(images)
        assert torch.isfinite(logits).all()
        for vote in votes:
            torch.testing.assert_close(
                vote.present.exp() + vote.absent.exp(), torch.ones(5, 3)
            )
        torch.testing.assert_close(logits, plain.eval()(images))
        torch.testing.assert_close(model(images), blend(logits, votes, weights))

        exported = torch.export.export(
            model, (images,), dynamic_shapes=({0: torch.export.Dim('batch')},)
        ).module()
        for batch in (1, 2, 7):
            images = torch.randn(batch, 3, 32, 32)
            torch.testing.assert_close(
                exported(images).sigmoid(), model(images).sigmoid(), rtol=0, atol=1e-4
            )
