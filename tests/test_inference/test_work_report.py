# SPDX-License-Identifier: Apache-2.0
"""The page of a training whose model is run for it."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mlcl_plugin.apis import write_report
from mlcl_plugin.commands import main
from mlcl_plugin.engine import load_step_config
from mlcl_plugin.errors import OtherLabelsError
from mlcl_plugin.evaluation.score_dump import ScoreDump
from mlcl_plugin.inference.image_attention import ImageAttention


@pytest.fixture
def work(write_config, tmp_path):
    """The folder of a run with a config that was dumped, and a random model."""
    cfg = load_step_config(write_config())
    folder = tmp_path / 'work'
    logs = folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    # Not `dump`, which takes seconds to make the text pretty.
    fields = [f'{key} = {value!r}' for key, value in cfg.to_dict().items()]
    (logs / 'config.py').write_text('\n'.join(fields))
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(logs / 'config.py').model)
    meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'owl')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'epoch_1.pth')
    return folder


def test_scores_and_attention(work, capsys):
    page, missing = write_report(
        work, score='test', attention=True, num_images=2, num_resamples=5, device='cpu'
    )
    assert page == work / 'report.html'
    assert not any(text.startswith('No scores') for text in missing)
    dump = ScoreDump.load(work / 'test_scores.csv')
    # image n of the data set has the labels that are set in the binary number n + 1
    assert dump.classes == ('cat', 'dog', 'owl')
    assert dump.targets.tolist() == [
        [n >> label & 1 for label in range(3)] for n in range(1, 8)
    ]
    text = page.read_text(encoding='utf-8')
    assert 'test_scores.csv' in text
    assert 'Where the network looks for' in text or 'looks everywhere alike' in text


def test_attention_in_the_order_of_a_dump(work, tiny_coco):
    attention = ImageAttention(
        work / '20260101_000000/vis_data/config.py', work / 'epoch_1.pth', 'cpu'
    )
    path = str(tiny_coco / 'val/000.png')
    found = attention([path, str(tiny_coco / 'gone.png')], ('cat', 'dog', 'owl'))
    assert list(found) == [path]
    assert found[path].maps.shape == (3, 4, 4)
    assert found[path].view.shape == (32, 32, 3)
    with pytest.raises(OtherLabelsError):
        attention([path], ('dog', 'cat', 'owl'))


def test_no_model(work):
    (work / 'epoch_1.pth').unlink()
    with pytest.raises(ValueError, match='no model that can be run: no checkpoint'):
        write_report(work, attention=True)


def test_command(work, tmp_path, capsys):
    out = tmp_path / 'page.html'
    assert main(['report', str(work), '--out', str(out), '--num-images', '0']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(out) and out.is_file()
    assert any(line.startswith('missing: No scores') for line in lines)
    with pytest.raises(SystemExit) as error:
        main(['report', str(tmp_path / 'nowhere')])
    assert error.value.code == 2
    assert 'There is no folder' in capsys.readouterr().err
