# SPDX-License-Identifier: Apache-2.0
import socket
from importlib.util import find_spec
from itertools import product

import pytest

from mlcl_plugin.web_demo.server import hosts_of, make_app, open_socket


def test_port_in_use():
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf'port={port}: .*Another program uses'):
            open_socket('127.0.0.1', port)


@pytest.mark.parametrize('host', ['no.such.host.invalid', 80 * 'x', 'ä..b'])
def test_no_such_host(host):
    with pytest.raises(OSError, match='host=') as caught:
        open_socket(host, 0)
    assert 'Another program' not in str(caught.value)


needs_gradio = pytest.mark.skipif(not find_spec('gradio'), reason='needs the extra web')
LOCAL = ('localhost', '127.0.0.1', '[::1]')


@pytest.mark.parametrize(
    ('host', 'hosts'),
    [
        ('127.0.0.1', LOCAL),
        ('localhost', LOCAL),
        ('127.0.0.2', (*LOCAL, '127.0.0.2')),
        ('0.0.0.0', ('*',)),
    ],
)
def test_hosts(host, hosts):
    with open_socket(host, 0) as listener:
        assert hosts_of(listener, host) == hosts


@pytest.fixture
def client(writer):
    from fastapi.testclient import TestClient

    return TestClient(make_app(writer, hosts=LOCAL))


@needs_gradio
def test_foreign_host(client):
    """A site elsewhere may let its name lead to this machine (DNS rebinding)."""

    def codes(host):
        headers = dict(host=host)
        answers = [client.get(path, headers=headers) for path in ('/', '/config', '/x')]
        files = dict(files=b'1')
        answers.append(client.post('/gradio_api/upload', files=files, headers=headers))
        assert all('content-security-policy' in answer.headers for answer in answers)
        return [answer.status_code for answer in answers]

    for host in ('127.0.0.1:7860', 'LOCALHOST', '[::1]:7860'):
        assert codes(host) == [200, 200, 404, 200], host
    foreign = ('site.example:7860', '127.0.0.1.site.example', 'www.localhost')
    for host in (*foreign, '[::2]', '', 'localhost@site.example'):
        assert codes(host) == [400] * 4, host


@needs_gradio
def test_other_sites_cannot_read(client):
    for host, origin in product(LOCAL, ('https://site.example', 'null')):
        headers = dict(host=f'{host}:7860', origin=origin)
        answer = client.get('/config', headers=headers)
        assert answer.status_code == 200
        asked = {'access-control-request-method': 'POST', **headers}
        allowed = client.options('/gradio_api/upload', headers=asked)
        assert allowed.status_code == 400
        for headers in (answer.headers, allowed.headers):
            assert 'access-control-allow-origin' not in headers
