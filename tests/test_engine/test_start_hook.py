# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest

from mlcl_plugin.engine import StartHook


def test_only_the_ema_weights_are_left():
    checkpoint = dict(state_dict=dict(a=1), ema_state_dict=dict(a=2), meta={})
    StartHook().after_load_checkpoint(SimpleNamespace(), checkpoint)
    assert checkpoint == dict(state_dict=dict(a=1), meta={})
    # of a run without an average
    StartHook().after_load_checkpoint(SimpleNamespace(), checkpoint)
    assert checkpoint == dict(state_dict=dict(a=1), meta={})


@pytest.mark.parametrize('given', ['/there/weights.pth', None])
@pytest.mark.parametrize('main', [True, False])
def test_notes_what_was_given(tmp_path, monkeypatch, given, main):
    monkeypatch.setattr(
        'mlcl_plugin.engine.hooks.start_hook.is_main_process', lambda: main
    )
    runner = SimpleNamespace(work_dir=str(tmp_path))
    StartHook(given).before_train(runner)
    texts = [path.read_text() for path in tmp_path.iterdir()]
    assert texts == ([given] if given and main else [])
    assert (tmp_path / 'started_from').exists() is bool(texts)
