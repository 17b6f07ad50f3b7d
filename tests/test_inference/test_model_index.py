# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import yaml
from mmpretrain import get_model, list_models

from mlcl_plugin import recipes
from mlcl_plugin.apis import register_models

ROOT = Path(__file__).parents[2]


def test_every_recipe_is_in_the_index():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    listed = {model['Config'] for model in index['Models']}
    assert listed == {f'configs/{path.name}' for path in ROOT.glob('configs/*.py')}
    assert all(
        model['Name'] == Path(model['Config']).stem == model['Name'].lower()
        for model in index['Models']
    )


def test_get_model_by_name():
    register_models()
    register_models()
    assert 'mlcl_r101_coco' in list_models('mlcl*')
    model = get_model('mlcl_efflite0_voc07', backbone=dict(init_cfg=None))
    assert type(model.neck).__name__ == 'LabelAttentionNeck'
    assert model.head.num_classes == 20


def test_missing_index(monkeypatch, tmp_path):
    package = tmp_path / 'mlcl_plugin'
    package.mkdir()
    monkeypatch.setattr(recipes, '__file__', str(package / 'recipes.py'))
    with pytest.raises(FileNotFoundError, match='model-index.yml'):
        register_models()
