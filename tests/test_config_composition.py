# SPDX-License-Identifier: Apache-2.0
"""Recipes are composed of parts that are each written once, as their README says."""

import ast
import importlib.util
import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlcl_plugin.engine.steps import step_config, step_names

spec = importlib.util.spec_from_file_location(
    'config_files', Path(__file__).with_name('config_files.py')
)
config_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(config_files)

CONFIGS = config_files.CONFIGS
FILES = config_files.config_files()
RECIPES = config_files.recipes()
PARTS = [path for path in FILES if '_base_' in path.parts]
SETTINGS = ('r101_coco', 'efflite0_voc07', 'resnet_digits')

MOST_LINES = 25
LONGER = {
    'mlcl_efflite0_tabular': 'has all that depends on the photographs at its top',
    'mlcl_swin-s_coco': 'has a backbone and an optimizer of its own',
    'cgmvae_yeast': 'has the only backbone and schedule for vectors',
}
OWN_TYPES = {'linear_yeast': 'replaces the head of the recipe that is its base'}

each_recipe = pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)


def name_of(path):
    return path.relative_to(CONFIGS).as_posix()


def bases_of(path):
    """The files that a config names as its bases."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            return [(path.parent / x).resolve() for x in ast.literal_eval(node.value)]
    return []


def all_bases_of(path):
    """The files that a config is made of, without itself."""
    found = set()
    for base in bases_of(path):
        found |= {base} | all_bases_of(base)
    return found


def comments_of(path):
    """The comments of a config, each in one line."""
    blocks = re.findall(r'(?:^ *#.*\n)+', path.read_text(), re.M)
    return [re.sub(r'\n? *# ?', ' ', block) for block in blocks]


def code_of(path):
    lines = path.read_text().splitlines()
    return [x for x in lines if x.strip() and x.strip()[:1] != '#']


def readme_tables():
    """The recipes in the README, with the methods that it names; None without."""
    found = {}
    for row in re.findall(r'^\| (.*) \|$', (CONFIGS / 'README.md').read_text(), re.M):
        cells = row.split(' | ')
        paths = re.findall(r'`([^`]+\.py)`', cells[1])
        methods = set(re.findall(r'`(\w+)`', cells[2])) if len(cells) > 2 else None
        for path in paths:
            if 'SETTING' in path:
                for setting in SETTINGS:
                    found[path.replace('SETTING', setting)] = methods
            else:
                found[path] = methods
    return found


def readme_files():
    """The files in the README, by the path that stands above each."""
    text = (CONFIGS / 'README.md').read_text()
    return dict(
        re.findall(r'<!-- (?:as in )?(\S+) -->\n```python\n(.*?)```', text, re.S)
    )


def test_every_part_is_used():
    used = set().union(*(all_bases_of(path) for path in RECIPES))
    assert [name_of(path) for path in PARTS if path not in used] == []


@each_recipe
def test_recipes_are_short(path):
    """What several recipes share belongs to ``_base_``."""
    length = len(code_of(path))
    assert (length > MOST_LINES) == (path.stem in LONGER), length


@each_recipe
def test_networks_and_losses_are_in_methods(path):
    types = re.findall(r"type='\w*(?:Head|Neck|Decoder|Loss)'", path.read_text())
    assert bool(types) == (path.stem in OWN_TYPES), types


@each_recipe
def test_method_is_merged(path):
    assert 'method' not in Config.fromfile(path)


@each_recipe
def test_header_names_the_command(path):
    header = re.match(r'(?:#.*\n)+', path.read_text()).group()
    name = name_of(path)
    if path.stem == 'mlcl_efflite0_tabular':
        name = 'mlcl/YOURS.py'
    assert f'#     python tools/train.py configs/{name}\n' in header
    # the method, the data, the command
    assert 3 <= header.count('\n') <= 5


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_comments_have_no_results(path):
    """They are in the docs, with their seeds and intervals."""
    for comment in comments_of(path):
        assert not re.search(r'mAP[^.,;]*\d|±|\d to [+-]\d', comment)


def test_readme_lists_every_recipe():
    assert sorted(readme_tables()) == sorted(map(name_of, RECIPES))


@each_recipe
def test_readme_names_the_methods(path):
    named = readme_tables()[name_of(path)]
    if named is not None:
        files = [CONFIGS / f'_base_/methods/{name}.py' for name in named]
        # the method of MulCon has its network as a base
        expected = set(files).union(*map(all_bases_of, files))
        bases = all_bases_of(path)
        assert {base for base in bases if base.parent.name == 'methods'} == expected


def test_readme_shows_a_recipe():
    shown = readme_files()['csra/csra_efflite0_voc07.py']
    code = (CONFIGS / 'csra/csra_efflite0_voc07.py').read_text()
    assert code.split('.py\n', 1)[1] == shown


@pytest.fixture
def written(tmp_path):
    """A copy of the configs with the files of the README."""
    target = tmp_path / 'configs'
    shutil.copytree(CONFIGS, target)
    for name, text in readme_files().items():
        (target / name).write_text(text)
    return target


def test_recipe_with_other_numbers(written):
    pytest.importorskip('timm')
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(written / 'my_csra.py')
    cfg.model.backbone.init_cfg = None
    assert MODELS.build(cfg.model).head.num_classes == 20
    assert (cfg.model.head.num_heads, cfg.model.head.lam) == (2, 0.2)
    step1, step2 = (step_config(cfg, name) for name in step_names(cfg))
    assert step1.train_dataloader.batch_size == 16
    assert (step1.train_cfg.max_epochs, step2.train_cfg.max_epochs) == (4, 5)


def test_recipe_with_an_own_method(written):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(written / 'my_recipe.py')
    images = torch.rand(3, 3, 64, 64)
    samples = [DataSample().set_gt_score(torch.eye(10)[i]) for i in (3, 3, 4)]
    for name, losses in (
        ('step1', {'loss_cls'}),
        ('step2', {'loss_cls', 'loss_contrastive'}),
    ):
        model = MODELS.build(step_config(cfg, name).model)
        assert model.head.num_classes == 10
        found = model.loss(images, samples)
        assert found.keys() == losses
        assert all(value > 0 for value in found.values())
