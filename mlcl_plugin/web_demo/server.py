# SPDX-License-Identifier: Apache-2.0
"""Serve the page until it is told to end."""

import errno
import ipaddress
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from .guards import Guard
from .page import FOLDER, import_gradio, make_page
from .panels import PanelWriter

FRAME = 1_000_000
"""Bytes of a request beside the photograph."""
PATIENCE = 2
"""Seconds that open connections are waited for at the end."""


def make_app(
    writer: PanelWriter,
    example: Path | None = None,
    hosts: Sequence[str] = ('*',),
) -> Guard:
    """Make the web application.

    Pages of other sites, which a browser has open beside it, cannot read its answers.

    Args:
        writer (PanelWriter): Writes what changes.
        example (Path, optional): A photograph to try. Defaults to None.
        hosts (Sequence[str]): Names by which browsers may call it; a request with
            another ``Host`` is answered with 400. Defaults to all names.

    Returns:
        Guard: An ASGI application.

    Raises:
        ImportError: If gradio is not installed.
    """
    import_gradio()
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware
    from fastapi.middleware.trustedhost import TrustedHostMiddleware

    fonts = ['system-ui', '-apple-system', 'Segoe UI', 'Roboto', 'sans-serif']
    limits = writer.viewer.limits
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    # Without origins. gradio's own lets all sites read the answers, unless it is called
    # by one of three names of this machine.
    app.add_middleware(CORSMiddleware)
    gr.mount_gradio_app(
        app,
        make_page(writer, example),
        path='/',
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=limits.max_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        # gradio's own have fonts of Google.
        theme=gr.themes.Base(
            primary_hue='blue', font=fonts, font_mono=['ui-monospace', 'monospace']
        ),
        css_paths=FOLDER / 'page.css',
        js=(FOLDER / 'upload.js').read_text(encoding='utf-8'),
    )
    return Guard(app, limits.max_bytes + FRAME)


def open_socket(host: str, port: int) -> socket.socket:
    """Listen at an address.

    Args:
        host (str): A name or a number.
        port (int): 0 takes one that is free.

    Returns:
        socket.socket: It listens.

    Raises:
        OSError: If the address cannot be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family)
    # A name that is too long, or has other letters than a name may have.
    except UnicodeError as error:
        raise OSError(f'host={host} is no name of a machine.') from error
    except OSError as error:
        used = error.errno == errno.EADDRINUSE
        advice = (
            ' Another program uses this port; port=0 takes one that is free.'
            if used
            else ''
        )
        raise OSError(
            f'Cannot listen at host={host} port={port}: {error.strerror or error}.'
            f'{advice}'
        ) from error


def address_of(listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host, port = listener.getsockname()[:2]
    ip = ipaddress.ip_address(host)
    if ip.is_unspecified:
        host = '127.0.0.1' if ip.version == 4 else '::1'
    return f'http://[{host}]:{port}/' if ':' in host else f'http://{host}:{port}/'


def is_private(listener: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def hosts_of(listener: socket.socket, host: str) -> tuple[str, ...]:
    """The names by which browsers may call the page.

    A site elsewhere can let its own name lead to this machine (DNS rebinding), and then
    read the page. Where only this machine can reach the page, its own names are
    enough; else the page is for everybody, by whatever name.

    Args:
        listener (socket.socket): Where the page listens.
        host (str): The name or number that was asked for.

    Returns:
        tuple[str, ...]: Names without a port, or ``*``.
    """
    if not is_private(listener):
        return ('*',)
    number = listener.getsockname()[0]
    named = [f'[{name}]' if ':' in name else name for name in (host, number)]
    return tuple(dict.fromkeys(['localhost', '127.0.0.1', '[::1]', *named]))


def serve(
    make_writer: Callable[[], PanelWriter],
    host: str = '127.0.0.1',
    port: int = 7860,
    example: Path | None = None,
) -> None:
    """Serve the page until Ctrl-C or a signal to end.

    Photographs are kept in a folder that is deleted at the end.

    Args:
        make_writer (Callable): Makes what writes the page. It is called when the
            address is taken, which is fast, since the model takes seconds.
        host (str): Where to listen. Defaults to this machine alone.
        port (int): Where to listen; 0 takes one that is free. Defaults to 7860.
        example (Path, optional): A photograph to try. Defaults to None.

    Raises:
        ImportError: If gradio is not installed.
        OSError: If the address cannot be had.
    """
    with (
        open_socket(host, port) as listener,
        tempfile.TemporaryDirectory(prefix='mlcl-demo-') as folder,
    ):
        # gradio reads it when it is imported, or when a part is made.
        os.environ['GRADIO_TEMP_DIR'] = folder
        import_gradio()
        import uvicorn

        app = make_app(make_writer(), example, hosts_of(listener, host))

        class Server(uvicorn.Server):
            async def shutdown(
                self, sockets: list[socket.socket] | None = None
            ) -> None:
                app.closing.set()
                await super().shutdown(sockets)

        config = uvicorn.Config(
            app,
            log_level='warning',
            timeout_graceful_shutdown=PATIENCE,
            server_header=False,
        )
        if not is_private(listener):
            print(
                'Everybody who reaches this machine by the network can use the page.',
                file=sys.stderr,
            )
        print(f'Open {address_of(listener)} in a browser. Ctrl-C ends it.', flush=True)
        # uvicorn ends in order, and then passes the signal on. SIGTERM alone would end
        # the program at once, with the folder left.
        former = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                Server(config).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, former)
        print('The page is closed.')
