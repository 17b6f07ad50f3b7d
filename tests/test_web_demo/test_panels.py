# SPDX-License-Identifier: Apache-2.0
import re
from types import SimpleNamespace

import pytest

from mlcl_plugin.web_demo.panels import UNEXPECTED, PanelWriter
from mlcl_plugin.web_demo.viewer import LabelRow


def test_before_and_after(writer, tiny_coco, tmp_path):
    seen, panels = writer.opened(None)
    assert seen is None and panels == writer.empty()
    assert 'Up to' in panels.message and panels[1:] == ('', '', '')

    seen, panels = writer.opened(tiny_coco / 'train/002.png')
    assert seen is not None and panels.message == ''
    assert 'src="data:image/jpeg;base64,' in panels.picture
    assert 'alt="The photograph 002.png"' in panels.picture
    assert (
        len(re.findall('<button type="button" data-label="[012]"', panels.labels)) == 3
    )
    assert 'own threshold' in panels.labels and panels.neighbours == ''

    path = tmp_path / 'no.jpg'
    path.write_text('no image')
    seen, panels = writer.opened(path)
    assert seen is None and panels[1:] == ('', '', '')
    assert 'role="alert"' in panels.message and str(tmp_path) not in panels.message


def test_chosen_label(writer, tiny_coco):
    """A name is text, whatever is in it."""
    seen, _ = writer.opened(tiny_coco / 'train/002.png')
    panels = writer.show(seen, 0.25, label=1)
    assert 'looked for <b>&lt;b&gt;dog</b>' in panels.picture
    assert panels.labels.count('aria-pressed="true"') == 1
    assert re.search('data-label="1" aria-pressed="true"', panels.labels)
    assert 'the threshold 0.25 for all labels' in panels.labels
    assert panels.labels.count('style="left: 25.0%"') == 3
    assert 'whose &lt;b&gt;dog is most like this one' in panels.neighbours
    assert '002.png' in panels.neighbours and '<img' not in panels.neighbours
    assert '<b>dog' not in ''.join(panels)


def test_training_images(viewer, tiny_coco, tmp_path):
    seen = viewer.look(tiny_coco / 'train/002.png')
    shown = PanelWriter(viewer, tiny_coco / 'train').neighbours(seen, 1)
    assert shown.count('<img src="data:image') == shown.count('<li>') > 0
    # Folders of this machine are nobody's business.
    assert str(tiny_coco) not in shown
    # What is outside of the folder is not shown, whatever a checkpoint names.
    (tmp_path / 'other').mkdir()
    other = PanelWriter(viewer, tmp_path / 'other')
    assert '<img' not in other.neighbours(seen, 1)
    assert other._thumbnail(str(tiny_coco / 'train/002.png')) is None
    assert other._thumbnail('../' * 20 + str(tiny_coco / 'train/002.png')) is None
    with pytest.raises(FileNotFoundError, match=r"no folder images='.*none'"):
        PanelWriter(viewer, tmp_path / 'none')


@pytest.mark.parametrize(('num_labels', 'rows', 'more', 'left_out'), [
    (3, 3, 0, 0), (80, 10, 70, 0), (500, 10, 190, 300),
])  # fmt: skip
def test_many_labels(num_labels, rows, more, left_out):
    every = [LabelRow(i, f'label {i}', 0.4, 0.5, False) for i in range(num_labels)]
    writer = PanelWriter(SimpleNamespace(rows=lambda seen, threshold: every))
    text = writer.labels(None)
    first, _, rest = text.partition('<details')
    assert first.count('<button') == rows and rest.count('<button') == more
    assert (f'{left_out} labels with lower' in text) == (left_out > 0)
    assert '<details>' in text or not more
    if more:
        assert '<details open>' in writer.labels(None, label=rows + 1)


def test_unexpected_error(writer, tiny_coco, monkeypatch, caplog):
    """The page goes on, and shows no traceback."""
    seen, _ = writer.opened(tiny_coco / 'train/002.png')

    def fail(*args):
        raise RuntimeError('secret')

    monkeypatch.setattr(writer.viewer, 'rows', fail)
    for panels in (writer.show(seen), writer.opened(tiny_coco / 'train/002.png')[1]):
        assert UNEXPECTED in panels.message and 'secret' not in ''.join(panels)
