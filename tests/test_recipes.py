# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
from mmpretrain import list_models

from mlcl_plugin import recipes
from mlcl_plugin.apis import register_models
from mlcl_plugin.commands import main
from mlcl_plugin.engine import load_config, load_step_config, set_work_dir
from mlcl_plugin.inference import load_model_config
from mlcl_plugin.recipes import (
    describe_recipe,
    find_config,
    measured_results,
    recipe_paths,
    recipe_root,
)

ROOT = Path(__file__).resolve().parents[1]
NAME = 'mlcl_efflite0_voc07'


def test_all_recipes_are_found():
    found = {path.resolve() for path in recipe_paths().values()}
    files = {p for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts}
    assert found == files and list(recipe_paths()) == sorted(p.stem for p in files)


@pytest.mark.parametrize('name', [NAME, f'{NAME}.py', 'csra_r101_coco'])
def test_name_in_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = find_config(name)
    assert path.is_file() and path.stem == name.removesuffix('.py')


def test_file_has_priority_and_a_folder_has_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir()
    assert find_config(NAME).is_absolute()
    Path(f'{NAME}.py').write_text('a = 1')
    assert load_config(f'{NAME}.py').a == 1
    assert find_config(f'./{NAME}.py') == Path(f'{NAME}.py')


@pytest.mark.parametrize('load', [load_config, load_step_config, load_model_config])
def test_same_for_all_commands(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load(NAME)
    cfg = cfg[0] if isinstance(cfg, tuple) else cfg
    assert Path(cfg.filename).stem == NAME
    message = 'mlcl_eflite0_voc07.*Did you mean mlcl_efflite0_voc07 '
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        load('mlcl_eflite0_voc07')
    # A path is a path.
    with pytest.raises(FileNotFoundError, match=f'Did you mean {NAME} or'):
        load(f'configs/{NAME}.py')


def test_folder_of_the_run_has_the_name():
    cfg = load_config(NAME)
    set_work_dir(cfg, NAME)
    assert cfg.work_dir == f'./work_dirs/{NAME}'


@pytest.mark.parametrize('name', recipe_paths())
def test_first_lines(name):
    recipe = describe_recipe(name, recipe_paths()[name])
    assert recipe.method and recipe.data
    if 'yeast' in name:
        assert not recipe.backbone and 'feature vectors' in recipe.data
    else:
        assert re.search('Net|NeXt|ViT|Swin', recipe.backbone)


def test_description(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text(
        '# Method (arXiv 1.2), both\n# steps.\n# Data: my, photos, with Net-1.5 at\n'
        '# 224 px. More.\n#     command\na = 1\n# Data: no.\n'
    )
    expected = ('Method (arXiv 1.2), both steps', 'my, photos', 'Net-1.5 at 224 px')
    assert describe_recipe('a', path)[2:] == expected


def test_measured_results(tmp_path):
    (tmp_path / 'more.yml').write_text(
        'Models:\n- Name: b\n  Results:\n  - Task: t\n    Dataset: VOC\n'
        '    Metrics: {mAP: 86.1, CF1: 70}\n'
    )
    index = tmp_path / 'model-index.yml'
    index.write_text('Import: [more.yml]\nModels:\n- Name: a\n')
    assert measured_results(index) == {'b': 'mAP 86.1 on VOC, CF1 70 on VOC'}


def test_the_index_names_recipes():
    register_models()
    assert {name for name in list_models('mlcl*') if name in recipe_paths()}
    assert set(measured_results(recipe_root() / 'model-index.yml')) <= set(
        recipe_paths()
    )


class TestList:
    def test_all(self, capsys):
        assert main(['models']) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ['name', *recipe_paths()]

    def test_patterns(self, capsys, monkeypatch):
        monkeypatch.setattr(recipes, 'measured_results', lambda _: {NAME: 'mAP 1'})
        assert main(['models', NAME, '*yeast', '--paths']) == 0
        lines = capsys.readouterr().out.splitlines()
        names = [
            NAME,
            f'{NAME}_finetuned',
            f'{NAME}_frozen',
            f'{NAME}_small',
            'cgmvae_yeast',
            'linear_yeast',
        ]
        assert [line.split()[0] for line in lines] == ['name', *sorted(names)]
        line = next(line for line in lines if line.split()[0] == NAME)
        assert 'mAP 1' in line and line.endswith(f'{NAME}.py')

    def test_nothing(self, ends_with_line):
        with ends_with_line('^mlcl models: No recipe has crsa_efflite0_voc07 in its '):
            main(['models', 'crsa_efflite0_voc07'])


def test_a_table_is_no_config(tmp_path):
    path = tmp_path / 'labels.csv'
    path.write_text('image,cat')
    with pytest.raises(
        ValueError, match=r'labels.csv is no config: .*`mlcl fit` takes'
    ):
        find_config(path)
