# SPDX-License-Identifier: Apache-2.0
import socket

import pytest

from mlcl_plugin.web_demo.server import open_socket


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
