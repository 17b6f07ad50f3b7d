# SPDX-License-Identifier: Apache-2.0
"""Tasks imported, corrected and exported in a browser, with a Label Studio server.

It needs the program label-studio, playwright and a Chromium; all is on this machine.
"""

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from scipy.sparse import csr_array

from mlcl_plugin.datasets.forms import ImageLabels, read_labels, write_labels
from tests.test_datasets.test_tar_shards import encoded

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
SERVER = shutil.which('label-studio')
MISSING = [
    *([] if SERVER else ['label-studio']),
    *([] if CHROMIUM else ['a Chromium']),
    *([] if importlib.util.find_spec('playwright') else ['playwright']),
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f'missing: {", ".join(MISSING)}'),
]
USER, PASSWORD, TOKEN = 'a@example.com', secrets.token_hex(8), secrets.token_hex(20)
HEADERS = dict(Authorization=f'Token {TOKEN}')
CLASSES = ('cat', 'dog', 'traffic light')


@pytest.fixture
def server(tmp_path):
    """Address of a server that shows the files below tmp_path."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    url = f'http://127.0.0.1:{port}'
    env = os.environ | dict(
        HOME=str(tmp_path / 'home'),
        LABEL_STUDIO_BASE_DATA_DIR=str(tmp_path / 'home'),
        LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED='true',
        LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=str(tmp_path),
        LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN='true',
        LATEST_VERSION_CHECK='false',
        COLLECT_ANALYTICS='false',
        SENTRY_DSN='',
        FRONTEND_SENTRY_DSN='',
    )
    # It is another environment than that of the tests.
    env.pop('PYTHONPATH', None)
    (tmp_path / 'home').mkdir()
    command = f'start --no-browser --internal-host 127.0.0.1 --port {port}'.split()
    user = ['--username', USER, '--password', PASSWORD, '--user-token', TOKEN]
    with open(tmp_path / 'server.txt', 'w') as log:
        process = subprocess.Popen(
            [SERVER, *command, *user], env=env, stdout=log, stderr=log
        )
    try:
        for _ in range(600):
            assert process.poll() is None, (tmp_path / 'server.txt').read_text()
            try:
                urllib.request.urlopen(f'{url}/user/login/', timeout=5)
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # No name of another machine is found.
            args=[
                '--no-sandbox',
                '--disable-gpu',
                '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
            ],
        )
        page = chromium.new_page(viewport=dict(width=1440, height=900))
        page.set_default_timeout(180_000)
        yield page
        chromium.close()


def make_project(page, url, tmp_path):
    """A project with the labelling config and the folder of the images."""
    made = page.request.post(
        f'{url}/api/projects/',
        headers=HEADERS,
        data=dict(
            title='photographs',
            label_config=(tmp_path / 'tasks.label_config.xml').read_text(),
            show_collab_predictions=True,
        ),
    )
    project = made.json()['id']
    storage = dict(project=project, path=str(tmp_path / 'photos'), use_blob_urls=True)
    added = page.request.post(
        f'{url}/api/storages/localfiles/', headers=HEADERS, data=storage
    )
    assert made.status == added.status == 201
    return project


def test_corrected_in_a_browser(tmp_path, server, page):
    prefix = '/data/local-files/?d=photos/'
    (tmp_path / 'photos').mkdir()
    images = ('1.png', 'a b.png', '3.png')
    for number, image in enumerate(images):
        (tmp_path / 'photos' / image).write_bytes(encoded(80 * number))
    given = csr_array(np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]], np.int8))
    labels = ImageLabels(CLASSES, images, given)
    write_labels(labels, tmp_path / 'tasks.json', 'label-studio', image_url=prefix)

    page.goto(f'{server}/user/login/', wait_until='domcontentloaded')
    page.fill('input[name=email]', USER)
    page.fill('input[name=password]', PASSWORD)
    page.click('button[type=submit]')
    page.wait_for_url(lambda url: 'login' not in url, wait_until='domcontentloaded')
    project = make_project(page, server, tmp_path)
    page.goto(f'{server}/projects/{project}/data/import')
    page.set_input_files('input[type=file]', tmp_path / 'tasks.json')
    page.get_by_text('tasks.json').first.wait_for()
    page.get_by_role('button', name='Import').last.click()
    page.get_by_text('Tasks: 3 / 3').wait_for()

    address = f'{server}/api/tasks?project={project}'
    tasks = page.request.get(address, headers=HEADERS).json()['tasks']
    # One is left out.
    for task, clicks in zip(tasks, (['dog'], ['traffic light'])):
        page.goto(f'{server}/projects/{project}/data?task={task["id"]}')
        page.wait_for_function(
            "[...document.images].some(x => x.src.includes('photos') && x.naturalWidth)"
        )
        for name in clicks:
            choice = page.locator('label').filter(has_text=re.compile(rf'^{name}\W'))
            choice.first.click()
        with page.expect_response(
            lambda r: '/annotations' in r.url and r.request.method == 'POST'
        ) as answer:
            page.get_by_role('button', name='Submit').click()
        assert answer.value.status == 201

    page.goto(f'{server}/projects/{project}/data/export')
    page.get_by_text('Export data', exact=True).wait_for()
    with page.expect_download() as download:
        page.get_by_role('button', name='Export').last.click()
    download.value.save_as(tmp_path / 'export.json')
    options = dict(classes=CLASSES, image_url=prefix)
    # Of the other task nothing is known, or what was predicted.
    assert read_all(tmp_path, **options) == [[1, 1, 0], [0, 0, 1]]
    options['predictions'] = True
    assert read_all(tmp_path, **options)[:2] == [[1, 1, 0], [0, 0, 1]]


def read_all(tmp_path, **options):
    read = read_labels(tmp_path / 'export.json', **options)
    assert read.images == ('1.png', 'a b.png', '3.png')[: len(read.images)]
    return read.targets.toarray().tolist()
