# SPDX-License-Identifier: Apache-2.0
import copy
import re

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import HOOKS, MODELS
from torch import nn

from mlcl_plugin.engine import build_runner, check_config
from mlcl_plugin.engine.config_arguments import check_arguments
from mlcl_plugin.engine.steps import step_config
from tests import config_files


@MODELS.register_module()
class TakesNames(nn.Module):
    def __init__(self, width: int, depth: int = 1):
        super().__init__()


@MODELS.register_module()
class HandsOn(TakesNames):
    def __init__(self, height: int = 1, **kwargs):
        super().__init__(**kwargs)


@MODELS.register_module()
class TakesAll(TakesNames):
    def __init__(self, **kwargs):
        kwargs.pop('anything', None)
        super().__init__(**kwargs)


@HOOKS.register_module(name='TakesNames')
class SameName:
    def __init__(self, every: int):
        pass


def check(**model):
    check_arguments(Config(dict(model=model)))


@pytest.mark.parametrize(
    'model',
    [
        dict(type='TakesNames', width=1, depth=2),
        # the name of a hook, too
        dict(type='TakesNames', every=2),
        dict(type=TakesNames, width=1),
        dict(type='HandsOn', height=1, width=2),
        dict(type='TakesAll', whatever=1),
        dict(type='NobodyKnowsIt', whatever=1),
    ],
)
def test_right(model):
    check(**model)


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (dict(type='TakesNames', widht=1), "model (TakesNames) takes no 'widht'. Did "),
        (dict(type='HandsOn', widht=1), 'mean width?'),
        (dict(type='HandsOn', zzz=1), 'Expected one of depth, height, width.'),
        (dict(type=TakesNames, every=1), "model (TakesNames) takes no 'every'."),
        (dict(head=[dict(type='HandsOn', dept=1)]), 'model.head[0] (HandsOn) takes no'),
        (dict(train_cfg=dict(augment=[])), "model.train_cfg takes no 'augment'. Did "),
    ],
)
def test_wrong(model, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(**model)


def test_layers_take_settings_beside_their_arguments():
    check(layers=dict(norm_cfg=dict(type='BN', requires_grad=True)))


def dicts(value, place=''):
    """All dicts of a config with their places."""
    if isinstance(value, dict):
        yield place, value
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return
    for key, item in items:
        yield from dicts(item, f'{place}.{key}')


#: Places whose keys are not fixed: names of hooks, of parameters, of folders; the head
#: calls a function with the entries of `projector`, which refuses others.
FREE = re.compile(
    r'custom_keys|dist_cfg|mp_cfg|_prefix|init_cfg|collate_fn|default_hooks$|projector'
)


def test_every_misspelt_argument_is_refused():
    """Each key of a recipe is misspelt, one at a time; what takes it says so."""
    path = next(p for p in config_files.recipes() if p.stem == 'mlcl_resnet_digits')
    cfg = step_config(Config.fromfile(path), 'step2')
    tried, silent = 0, []
    for place, content in dicts(cfg._cfg_dict):
        if not place or FREE.search(place):
            continue
        for key in content:
            changed = copy.deepcopy(cfg)
            target = changed._cfg_dict
            for name in place.split('.')[1:]:
                target = target[int(name) if name.isdigit() else name]
            if key == 'type' or not isinstance(target, ConfigDict):
                continue
            target[f'{key}x'] = target.pop(key)
            tried += 1
            message = ''
            try:
                check_config(changed)
            except ValueError as error:
                message = str(error)
            if f"takes no '{key}x'" not in message:
                silent.append((f'{place}.{key}', message))
    assert tried > 100
    assert silent == []


def test_before_anything_is_built(tmp_path):
    path = next(p for p in config_files.recipes() if p.stem == 'mlcl_resnet_digits')
    cfg = Config.fromfile(path)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.steps.step2.train_dataloader.batchsize = 3
    with pytest.raises(ValueError, match="train_dataloader takes no 'batchsize'"):
        build_runner(cfg)
    assert not (tmp_path / 'work').exists()
