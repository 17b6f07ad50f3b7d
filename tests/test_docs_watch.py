# SPDX-License-Identifier: Apache-2.0
"""The configs of "Watch a training" in docs/training.md are ones that can be used."""

import re
from pathlib import Path

import pytest
from mmpretrain.registry import HOOKS, VISBACKENDS

from mlcl_plugin.engine import check_config, load_config

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs/training.md').read_text()
SECTION = PAGE.partition('## Watch a training')[2].partition('\n## ')[0]
CONFIG = re.search(r'```python\n(.*?)```', SECTION, re.S)[1]
BACKENDS = re.findall(r'^\| [\w& ]+ \| `(dict\(.*?\))`[;| ]', SECTION, re.M)


def test_all_are_found():
    assert len(BACKENDS) == 3 and CONFIG.count('...') == 1


@pytest.mark.parametrize('backend', BACKENDS)
def test_builds(backend, tmp_path):
    path = tmp_path / 'config.py'
    text = CONFIG.replace('...', backend)
    base = ROOT / 'configs/mlcl/mlcl_efflite0_tabular.py'
    path.write_text(text.replace('./photos.py', str(base)))
    cfg = load_config(path)
    check_config(cfg)
    HOOKS.build(cfg.custom_hooks[-1])
    for item in cfg.visualizer.vis_backends:
        # They connect when the first value comes.
        VISBACKENDS.build(dict(item, save_dir=str(tmp_path)))
