# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import pytest
from mmengine.hub import get_config
from mmpretrain import get_model, list_models

import mlcl_plugin
from mlcl_plugin import recipes
from mlcl_plugin.apis import register_models
from mlcl_plugin.recipes import describe_recipe, read_index, recipe_paths

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def index():
    return read_index(ROOT / 'model-index.yml')


def test_every_recipe_is_in_the_index(index):
    paths = recipe_paths()
    assert list(index) == list(paths)
    for name, model in index.items():
        assert name == name.lower()
        assert paths[name].samefile(ROOT / model['Config'])
        data = describe_recipe(name, paths[name]).data
        assert model['Metadata']['Training Data'] == data


def test_results_are_in_the_docs(index):
    pages = ('methods_tables.md', 'neighbours.md')
    text = ''.join((ROOT / 'docs' / page).read_text() for page in pages)
    results = [
        result for model in index.values() for result in model.get('Results', [])
    ]
    assert results
    for result in results:
        assert math.isfinite(result['Metrics']['mAP'])
        assert f'{result["Metrics"]["mAP"]:.2f} ± ' in text


def test_models_are_listed_after_the_import(index):
    mlcl_plugin.register()
    assert set(list_models()) > set(index)
    assert 'mlcl_r101_coco' in list_models('mlcl*')


def test_get_model_by_name():
    register_models()
    model = get_model('mlcl_resnet_digits')
    assert type(model.neck).__name__ == 'LabelAttentionNeck'
    assert model.head.num_classes == 10


def test_config_of_the_hub(monkeypatch, tmp_path):
    """MMEngine looks for configs in the folder ``.mim`` of an installation."""
    package = tmp_path / '.mim'
    package.mkdir()
    for name in ('configs', 'model-index.yml'):
        (package / name).symlink_to(ROOT / name)
    monkeypatch.setattr('mmengine.hub.hub.get_installed_path', lambda _: str(tmp_path))
    monkeypatch.setattr('mmengine.hub.hub.install_package', lambda _: None)
    path = 'mlcl_plugin::mlcl/mlcl_efflite0_voc07_small.py'
    cfg = get_config(path, pretrained=True)
    assert cfg.model.type == 'NeighbourClassifier'
    assert cfg.model_path == 'mlcl://mlcl_efflite0_voc07'
    cfg = get_config('mlcl_plugin::mlcl/../mlcl_efflite0_voc07.py')
    assert cfg.model.type == 'ImageClassifier'


def test_missing_index(monkeypatch, tmp_path):
    package = tmp_path / 'mlcl_plugin'
    package.mkdir()
    monkeypatch.setattr(recipes, '__file__', str(package / 'recipes.py'))
    with pytest.raises(FileNotFoundError, match='model-index.yml'):
        register_models()
