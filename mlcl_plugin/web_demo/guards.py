# SPDX-License-Identifier: Apache-2.0
"""What stands before the page: a limit of what is sent, and no address elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# gradio's own page has scripts in its text, and makes functions of text.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
GONE = {'type': 'http.disconnect'}
HEADERS = (
    (b'content-security-policy', POLICY.encode()),
    (b'referrer-policy', b'no-referrer'),
    (b'x-content-type-options', b'nosniff'),
)


class Guard:
    """Wraps an ASGI application.

    A request whose body is longer than allowed is answered with 413, or cut off if it
    does not tell its length. Every page says that browsers may load nothing from
    elsewhere.

    Args:
        app (Callable): The application.
        max_body (int): Most bytes of a request.

    Attributes:
        closing (asyncio.Event): Once it is set, the application is told that all have
            gone. Open pages listen without end, and the program would wait for them.
    """

    def __init__(self, app: App, max_body: int) -> None:
        self.app = app
        self.max_body = max_body
        self.closing = asyncio.Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        length = dict(scope['headers']).get(b'content-length', b'0')
        if not length.isdigit() or int(length) > self.max_body:
            await _refuse(send, self.max_body)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await self._until_closing(receive)
            read += len(message.get('body', b''))
            if read > self.max_body:
                return dict(GONE)
            return message

        async def with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message.get('headers', ()), *HEADERS]
            await send(message)

        await self.app(scope, limited, with_headers)

    async def _until_closing(self, receive: Receive) -> Message:
        message = asyncio.ensure_future(receive())
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            done, _ = await asyncio.wait(
                (message, closing), return_when=asyncio.FIRST_COMPLETED
            )
            return message.result() if message in done else dict(GONE)
        finally:
            message.cancel()
            closing.cancel()


async def _refuse(send: Send, max_body: int) -> None:
    text = f'This is too large: at most {max_body:,} bytes are taken.'.encode()
    headers = [
        (b'content-type', b'text/plain; charset=utf-8'),
        (b'content-length', str(len(text)).encode()),
        (b'connection', b'close'),
    ]
    await send({'type': 'http.response.start', 'status': 413, 'headers': headers})
    await send({'type': 'http.response.body', 'body': text})
