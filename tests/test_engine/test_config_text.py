# SPDX-License-Identifier: Apache-2.0
import copy

from mmengine.config import Config

from mlcl_plugin.engine.config_text import FormattedConfig


def test_formatted_once(monkeypatch):
    plain = Config(dict(model=dict(type='A', sizes=[1, 2]), seed=0))
    expected = plain.pretty_text
    calls = []
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode',
        lambda text, **kwargs: (calls.append(text) or text, True),
    )
    cfg = FormattedConfig.of(plain)
    first = cfg.pretty_text
    assert Config.fromstring(first, '.py').to_dict() == plain.to_dict()
    assert Config.fromstring(expected, '.py').to_dict() == plain.to_dict()
    assert copy.deepcopy(cfg).pretty_text == cfg.pretty_text == first
    assert len(calls) == 1
    # Also in a dict of a dict.
    cfg.model.sizes = [3]
    assert Config.fromstring(cfg.pretty_text, '.py').model.sizes == [3]
    assert len(calls) == 2
    assert cfg.to_dict() == plain.to_dict()
    assert '_formatted' not in cfg.to_dict()
