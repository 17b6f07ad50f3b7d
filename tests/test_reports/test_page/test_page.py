# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mlcl_plugin.evaluation.decisions import Decisions
from mlcl_plugin.reports.page import (
    Attended,
    PageOptions,
    read_work_folder,
    write_page,
)
from mlcl_plugin.reports.page.content import make_content
from mlcl_plugin.reports.page.thumbnails import SIDE, data_uri, read_thumbnail
from tests.browser import axe_faults, launched, looks, needs

FAST = PageOptions(num_resamples=20)
VOID = {'meta', 'img', 'br', 'path', 'use', 'rect', 'defs'}


class Page(HTMLParser):
    """Collects the elements of a page, its text and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts, self.open = [], [], [], []
        self.feed(text)
        assert self.open == [], 'elements that are not closed'

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ['script'] else self.text).append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def write(folder, out, options=FAST, **kwargs):
    write_page(folder, out, options=options, **kwargs)
    return Page(out.read_text(encoding='utf-8'))


def assert_safe(page):
    """Nothing is loaded from elsewhere, and only our own script may run."""
    (script,) = page.scripts
    (csp,) = [a['content'] for a in page.of('meta') if 'http-equiv' in a]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in csp and "default-src 'none'" in csp
    for tag, attrs in page.tags:
        assert tag not in ('iframe', 'object', 'embed', 'link', 'base', 'form', 'b>')
        for key, value in attrs.items():
            assert not key.startswith('on')
            if key in ('src', 'href', 'srcset', 'action'):
                assert value.startswith(('#', 'data:image/'))
    anchors = [a['href'][1:] for a in page.of('a')]
    ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
    assert len(ids) == len(set(ids)) and set(anchors) <= set(ids)


def test_page(make_work, tmp_path):
    page = write(make_work(), tmp_path / 'new folder' / 'page.html')
    assert_safe(page)
    text = ' '.join(page.text)
    for expected in (
        'test_scores.csv',
        'bee is rare',
        'and 3 more',
        'ResNet, depth 101',
        'mlcl train my_recipe.py --work-dir AGAIN',
        'Thresholds: decisions.json.',
        'Python',
    ):
        assert expected in text
    assert 'What is missing' not in text
    assert all(image['alt'] for image in page.of('img'))
    assert all(svg['aria-label'] for svg in page.of('svg'))
    tables = [name for name, _ in page.tags].count('table')
    assert len(page.of('caption')) == tables and tables >= 1
    (language,) = page.of('html')
    assert language == dict(lang='en')
    # a heading level is never skipped
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch('h[1-6]', name)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:]))


HOSTILE = (
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}' onclick='x",
    ']]> --> $\\frac{$ \x1b[31m\u202e',
)


def test_hostile_names(make_work, tmp_path):
    """Names of labels, files and all that stands in the folder are escaped."""
    path = make_work(HOSTILE, stem='<script>x<b>')
    finding = dict(level='<i>', splits=['<u>'], message=HOSTILE[0], examples=HOSTILE)
    (path / 'check.json').write_text(json.dumps(dict(findings=[finding, 3, None])))
    for config in path.glob('*/*/vis_data/config.py'):
        config.write_text(f'model = dict(type={HOSTILE[1]!r})')
    row = dict(epoch=1, iter=1, **{f'loss{HOSTILE[0]}': 1.0})
    for log in path.glob('step1/*/vis_data/scalars.json'):
        log.write_text(json.dumps(row))
    options = PageOptions(num_resamples=20, attend=attend)
    page = write(path, tmp_path / 'page.html', options)
    assert_safe(page)
    assert not {'i', 'u'} & {name for name, _ in page.tags}
    text = ''.join(page.text)
    assert HOSTILE[0] in text and HOSTILE[1] in text and '49' not in text.split()
    assert '\x1b' not in text and '\u202e' not in text and '\\u202e' in text


def attend(paths, classes):
    maps = np.full((len(classes), 4, 4), 1 / 16)
    maps[0] = 0
    maps[0, 1, 1] = 1
    return {path: Attended(np.zeros((40, 60, 3), np.uint8), maps) for path in paths}


def test_attention(make_work):
    work = read_work_folder(make_work())
    options = PageOptions(num_images=3, num_resamples=20, attend=attend)
    (section,) = make_content(work, options, '', '').sections
    examples = section.worst + section.best
    assert len(examples) == 6
    for example in examples:
        names = {name for _, name, _ in example.labels}
        # one label looks somewhere, the others everywhere alike
        assert ['ant' in picture.title for picture in example.maps] == [True] * (
            'ant' in names
        )
        assert set(example.even) == names - {'ant'}


@pytest.mark.slow
@needs(axe=True)
def test_accessible(make_work, tmp_path):
    """axe-core finds no serious fault, and the page does not scroll sideways."""
    path = tmp_path / 'page.html'
    options = PageOptions(num_images=3, num_resamples=20, attend=attend)
    write(make_work(), path, options)
    found = {}
    with launched() as browser:
        page = browser.new_page()
        page.goto(path.as_uri())
        page.click('th button')
        for look in looks(page):
            found[look] = axe_faults(page)
            beyond = page.evaluate('document.documentElement.scrollWidth - innerWidth')
            assert beyond <= 0, look
    assert not any(found.values()), found


def test_values_are_those_of_the_evaluation(make_work):
    from mlcl_plugin.reports.evaluation_report import evaluate_files

    path = make_work()
    work = read_work_folder(path)
    (section,) = make_content(work, FAST, '', '').sections
    (result,) = evaluate_files(
        [str(path / 'test_scores.csv')], decision_files=[str(path / 'decisions.json')]
    ).results
    assert section.numbers[0].value == f'{result.metrics["mAP"]:.1f}'
    for cells, row in zip(section.rows, result.labels):
        name, ap, images, precision, recall, f1, threshold = cells
        assert name.text == row['label'] and ap.order == round(row['AP'], 6)
        assert ap.text.startswith(f'{100 * row["AP"]:.1f} (')
        assert images.order == row['support'] and threshold.text == '0.400'
        for cell, key in ((precision, 'precision'), (recall, 'recall'), (f1, 'F1')):
            assert cell.text == f'{100 * row[key]:.1f}'


def test_label_without_positives(make_work, make_dump):
    """It has neither AP nor a curve, and sorts last."""
    path = make_work()
    dump = make_dump(path / 'test_scores.csv')
    dump.targets[:, 1] = 0
    dump.save(path / 'test_scores.csv')
    (section,) = make_content(read_work_folder(path), FAST, '', '').sections
    assert section.rows[1][1] == ('–', None)
    assert [picture.title for picture in section.curves] in (
        ['ant', 'cat'],
        ['cat', 'ant'],
    )
    assert section.numbers[-1].note == '1 never present'


def test_images_that_are_not_there(make_work, tmp_path):
    path = make_work()
    for image in tmp_path.glob('image*.png'):
        image.unlink()
    page = write(path, tmp_path / 'page.html')
    assert page.of('img') == []
    assert 'The image files are not where the scores name them' in ' '.join(page.text)


def test_no_images(make_work, tmp_path):
    options = PageOptions(num_images=0, num_resamples=20)
    page = write(make_work(), tmp_path / 'page.html', options)
    assert page.of('img') == []
    assert 'Images with' not in ' '.join(page.text)


def test_nothing_but_a_start(tmp_path):
    (tmp_path / '20260101_000000' / 'vis_data').mkdir(parents=True)
    page = write(tmp_path, tmp_path / 'page.html')
    assert_safe(page)
    text = ' '.join(page.text)
    for expected in ('What is missing', 'No scores', 'No config', 'Nothing was logged'):
        assert expected in text


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ('val_scores.csv', 'Thresholds: decisions.json.'),
        ('some/test_scores.csv', 'found on these images, so that precision'),
    ],
)
def test_where_thresholds_are_from(make_work, names, source, expected):
    path = make_work()
    Decisions(names, [0.4] * 3, [2.0] * 3, dict(dump=source)).save(
        path / 'decisions.json'
    )
    (section,) = make_content(read_work_folder(path), FAST, '', '').sections
    assert expected in section.notes[0]
    assert section.calibration_notes == [
        'after: scores divided by a temperature, 2.000 for all labels.'
    ]


def test_thresholds_of_other_labels(make_work):
    path = make_work()
    Decisions(('x', 'y', 'z'), [0.4] * 3).save(path / 'decisions.json')
    (section,) = make_content(read_work_folder(path), FAST, '', '').sections
    assert 'is for other labels' in section.notes[0]
    assert section.rows[0][-1].text == '0.500'


@pytest.mark.parametrize('strange', [3, 'a', [3], {'a': 3}, None, [[[]]], 1.5])
def test_files_with_strange_content(tmp_path, strange):
    """JSON files of a fit whose values have other types than ours."""
    keys = ('source', 'classes', 'time', 'cfg_options', 'epochs', 'plain')
    (tmp_path / 'fit.json').write_text(json.dumps(dict.fromkeys(keys, strange)))
    content = dict(table=strange, notes=strange)
    (tmp_path / 'report.json').write_text(json.dumps(content))
    finding = dict.fromkeys(
        ('level', 'message', 'splits', 'examples', 'count'), strange
    )
    (tmp_path / 'check.json').write_text(json.dumps(dict(findings=[finding, strange])))
    page = write(tmp_path, tmp_path / 'page.html')
    assert_safe(page)
    assert 'mlcl fit' in ' '.join(page.text)


def test_config_is_not_run(make_work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_work(config="import os\nos.mkdir('DONE')")
    work = write_page(path, tmp_path / 'page.html', options=FAST)
    assert not (tmp_path / 'DONE').exists()
    assert any(text.startswith('No config') for text in work.missing)


def test_thumbnails(tmp_path):
    big = tmp_path / 'big.png'
    cv2.imwrite(str(big), np.full((300, 600, 3), (255, 0, 0), np.uint8))
    image = read_thumbnail(big)
    assert image.shape == (SIDE // 2, SIDE, 3)
    # BGR in the file, RGB here
    assert image[0, 0].tolist() == [0, 0, 255]
    content = base64.b64decode(data_uri(image).partition(',')[2])
    again = cv2.imdecode(np.frombuffer(content, np.uint8), 1)
    assert np.abs(again[0, 0].astype(int) - [255, 0, 0]).max() < 8
    (tmp_path / 'text.jpg').write_text('no image')
    for name in ('text.jpg', 'nowhere.jpg', ''):
        assert read_thumbnail(tmp_path / name) is None
