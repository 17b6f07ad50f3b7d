# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.config import Config

from mlcl_plugin.engine.config_fields import (
    FIELDS,
    check_fields,
    check_option_names,
    did_you_mean,
)

CONFIG = Config(dict(num_classes=20, model=dict(type='X'), photos=dict(data_root='d')))


@pytest.mark.parametrize(
    ('wrong', 'right'),
    [
        ('train_dataloder', 'train_dataloader'),
        ('custom_hook', 'custom_hooks'),
        ('optim_wraper', 'optim_wrapper'),
    ],
)
def test_misspelt_field(wrong, right):
    check_fields(Config({right: dict()}))
    # A number is a variable.
    check_fields(Config({wrong: 1}))
    with pytest.raises(ValueError, match=f'has {wrong}, .* Did you mean {right}?'):
        check_fields(Config({wrong: dict()}))


@pytest.mark.parametrize('name', ['photos', 'optimizer', 'pipeline', 'num_classes'])
def test_variables(name):
    check_fields(Config({name: dict(a=1)}))


def test_fields_of_a_step():
    steps = dict(one=dict(init_from='epoch_1.pth', train_cfg=dict(max_epochs=1)))
    check_fields(Config(dict(steps=steps)))
    steps['one']['modle'] = dict()
    with pytest.raises(ValueError, match=r'steps.one has modle, .* mean model\?'):
        check_fields(Config(dict(steps=steps)))
    with pytest.raises(ValueError, match='steps.one has steps'):
        check_fields(Config(dict(steps=dict(one=dict(steps={})))))


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('num_classes', 'is a variable of the config file'),
        ('photos.data_root', 'photos is a variable of the config file'),
        ('train_dataloder.batch_size', r'Did you mean train_dataloader or val_datal'),
        ('zzz', 'Expected one of activation_checkpointing, '),
    ],
)
def test_wrong_options(key, message):
    with pytest.raises(ValueError, match=f'^Option {key}: .*{message}'):
        check_option_names(CONFIG, {'model.type': 'Y', key: 1})


def test_right_options():
    check_option_names(CONFIG, {f'{name}.x': 1 for name in FIELDS})


def test_no_name_is_like_another():
    assert did_you_mean('zzz', ['b', 'a']) == ' Expected one of a, b.'
