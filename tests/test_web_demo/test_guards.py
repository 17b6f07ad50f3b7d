# SPDX-License-Identifier: Apache-2.0
import asyncio

import pytest

from mlcl_plugin.web_demo.guards import HEADERS, Guard


async def echo(scope, receive, send):
    """Answer with the number of bytes of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        if message['type'] == 'http.disconnect':
            return
        size += len(message['body'])
        more = message.get('more_body', False)
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': str(size).encode()})


def call(parts, length=None):
    """What is sent for a request whose body comes in parts."""
    messages = [
        {'type': 'http.request', 'body': part, 'more_body': place < len(parts) - 1}
        for place, part in enumerate(parts)
    ]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    headers = [] if length is None else [(b'content-length', length)]
    scope = {'type': 'http', 'headers': headers}
    asyncio.run(Guard(echo, 10)(scope, receive, send))
    return sent


@pytest.mark.parametrize('length', [b'10', None])
def test_passed_on(length):
    start, body = call([b'12345', b'67890'], length)
    assert start['status'] == 200 and body['body'] == b'10'
    assert set(HEADERS) <= set(start['headers'])
    assert b"default-src 'self'" in dict(start['headers'])[b'content-security-policy']


@pytest.mark.parametrize('length', [b'11', b'-1', b'x'])
def test_refused(length):
    start, body = call([b'1'], length)
    assert start['status'] == 413 and b'at most 10 bytes' in body['body']


def test_closing():
    """Who waits for more is told that the other side has gone."""

    async def listen():
        never = asyncio.Event()
        guard = Guard(echo, 10)

        async def receive():
            await never.wait()

        call = asyncio.ensure_future(
            guard({'type': 'http', 'headers': []}, receive, None)
        )
        await asyncio.sleep(0)
        assert not call.done()
        guard.closing.set()
        await asyncio.wait_for(call, 5)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, 'nothing is left waiting'

    asyncio.run(listen())


def test_cut_off():
    assert call([b'12345', b'678901']) == []
