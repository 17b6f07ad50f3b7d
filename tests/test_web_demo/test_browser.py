# SPDX-License-Identifier: Apache-2.0
"""The command as a person meets it: in a browser, and under load.

It needs gradio, playwright and a Chromium.
"""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlcl_plugin.digits_demo.parts import photograph
from tests.browser import axe_faults, launched, looks, needs

from .test_uploads import write_png

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, needs('gradio')]


@contextmanager
def running():
    """The command, on a free port; its address and its process."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'mlcl_plugin', 'demo', '--port', '0'],
        cwd=ROOT,
        env=os.environ | dict(PYTHONUNBUFFERED='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            found = re.search(r'Open (http://127\.0\.0\.1:\d+/) ', line)
            if found:
                break
        else:
            pytest.fail(''.join(lines))
        yield found[1], process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope='module')
def served():
    with running() as (url, process):
        yield url
        assert process.poll() is None, 'the program has ended'


@pytest.fixture(scope='module')
def browser():
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser, served):
    """The page, whose requests all go to the program."""
    context = browser.new_context(viewport=dict(width=1440, height=900))
    page = context.new_page()
    page.set_default_timeout(120_000)
    urls, errors = [], []
    page.on('request', lambda request: urls.append(request.url))
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(served)
    page.wait_for_selector('#upload input[type=file]', state='attached')
    yield page
    others = [u for u in urls if not u.startswith((served, 'data:', 'blob:'))]
    assert urls and not others and not errors
    context.close()


def upload(page, path):
    page.set_input_files('#upload input[type=file]', path)


def test_photograph(page):
    """Upload, threshold, click on a label."""
    upload(page, photograph())
    page.wait_for_selector('#labels button[data-label]')
    assert page.inner_text('#labels button.found .name').startswith('person')
    assert (
        page.get_attribute('#picture img', 'alt') == 'The photograph grace_hopper.jpg'
    )
    before = page.locator('#labels button.found').count()

    number = page.locator('#threshold input[type=number]')
    number.fill('0')
    number.press('Enter')
    page.wait_for_selector('text=by the threshold 0.00 for all labels')
    assert page.locator('#labels button.found').count() > before
    page.click('#own')
    page.wait_for_selector("text=by each label's own threshold")
    assert page.locator('#labels button.found').count() == before

    page.click('#labels button.found')
    page.wait_for_selector('#labels button[aria-pressed=true]')
    alt = page.get_attribute('#picture img', 'alt')
    assert alt == 'Where the model looked for person in grace_hopper.jpg'
    assert 'whose person is most like this one' in page.inner_text('#neighbours')
    assert page.locator('#neighbours li').count() == 6
    # The label has the focus again, for people who use the keyboard.
    assert (
        page.evaluate('document.activeElement.getAttribute("aria-pressed")') == 'true'
    )


def test_example(page):
    page.click('#example')
    page.wait_for_selector('#labels button[data-label]')
    assert page.inner_text('#labels button.found .name').startswith('person')


@needs(axe=True)
def test_accessible(page):
    """axe-core finds no serious fault: empty, with labels, with one of them."""

    def faults():
        return [f'{look}: {line}' for look in looks(page) for line in axe_faults(page)]

    found = {'empty': faults()}
    page.click('#example')
    page.wait_for_selector('#labels button[data-label]')
    found['labels'] = faults()
    page.click('#labels button.found')
    page.wait_for_selector('#neighbours li')
    found['one label'] = faults()
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('text.jpg', 'This file cannot be read as a photograph'),
        ('empty.jpg', 'This file is empty'),
        ('huge.png', 'This picture has 30,000 x 30,000 pixels'),
        ('long.jpg', 'exceed the maximum allowed size of 20'),
        ('note.txt', 'Invalid file type'),
    ],
)
def test_not_a_photograph(page, tmp_path, name, message):
    path = tmp_path / name
    if name == 'huge.png':
        write_png(path, 30_000, 30_000)
    elif name == 'long.jpg':
        path.write_bytes(bytes(50_000_000))
    else:
        path.write_text('' if name == 'empty.jpg' else 'no image')
    upload(page, path)
    page.wait_for_selector(f'text={message}')
    assert 'Traceback' not in page.content()
    # The page still works.
    page.click('#example')
    page.wait_for_selector('#labels button[data-label]')


def ask(url, number):
    """Send a photograph as a page does; returns the words of the answer."""
    import httpx

    with httpx.Client(base_url=url, timeout=300) as client:
        files = {'files': (f'{number}.jpg', photograph().read_bytes(), 'image/jpeg')}
        (path,) = client.post('gradio_api/upload', files=files).json()
        parts = client.get('config').json()
        (event,) = [
            event['id']
            for event in parts['dependencies']
            if [name for _, name in event['targets']] == ['upload']
        ]
        file = dict(path=path, meta=dict(_type='gradio.FileData'))
        session = f'session{number}'
        joined = client.post(
            'gradio_api/queue/join',
            json=dict(data=[file, None], fn_index=event, session_hash=session),
        )
        if joined.status_code != 200:
            return joined.text
        words = []
        query = dict(session_hash=session)
        with client.stream('GET', 'gradio_api/queue/data', params=query) as answer:
            for line in answer.iter_lines():
                if line.startswith('data:'):
                    message = json.loads(line[5:])
                    words.append(json.dumps(message))
                    if message['msg'] in ('process_completed', 'close_stream'):
                        break
        return ' '.join(words)


def test_a_hundred_at_once(served, page):
    """Each gets the labels, or a word that the queue is full."""
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda number: ask(served, number), range(100)))
    done = [text for text in answers if 'data-label' in text]
    full = [text for text in answers if 'Queue is full' in text]
    assert len(done) >= 50 and len(done) + len(full) == 100, answers[0][:500]
    upload(page, photograph())
    page.wait_for_selector('#labels button[data-label]')


def test_too_long_for_the_program(served):
    """A client that does not look at the size first."""
    import httpx

    content = bytes(50_000_000)
    files = {'files': ('a.jpg', content, 'image/jpeg')}
    try:
        answer = httpx.post(f'{served}gradio_api/upload', files=files, timeout=60)
        assert answer.status_code == 413 and 'too large' in answer.text
    except (httpx.WriteError, httpx.ReadError):
        # It was cut off while it still sent.
        pass
    assert httpx.get(served).status_code == 200


def test_ends_in_order():
    with running() as (url, process):
        import httpx

        port = int(url.rstrip('/').rpartition(':')[2])
        assert httpx.get(url).status_code == 200
        # A second program on the same port.
        command = [sys.executable, '-m', 'mlcl_plugin', 'demo', '--port', str(port)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert second.returncode == 2
        assert re.search(
            rf'^mlcl demo: Cannot listen at .*{port}.*--port 0', second.stderr
        )
        # An open page has a connection that does not end.
        with httpx.stream(
            'GET', f'{url}gradio_api/heartbeat/session1', timeout=30
        ) as heart:
            assert heart.status_code == 200
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        assert process.returncode == 0 and 'The page is closed.' in out
        assert 'Traceback' not in out
