"""The least that an HTTP server of our own would cost: httptools in a protocol of uvloop, without
any limit, timeout or draining.

It is the bound in docs/decisions/0001-http-server.md, and nothing to serve with. A request is
answered within the callback that parsed it: without a task, and without a wait for its body.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httptools

from headwater.serving.http.asgi import App, Message
from headwater.serving.process.uvicorn_server import new_loop


class Bare(asyncio.Protocol):
    """One connection."""

    def __init__(self, app: App) -> None:
        self.app, self.parser = app, httptools.HttpRequestParser(self)
        self.out: list[bytes] = []
        self.path, self.body, self.headers = b"", b"", []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        scope = {
            "type": "http",
            "method": method,
            "path": self.path.decode(),
            "query_string": b"",
            "headers": self.headers,
        }
        answering = self.app(scope, self.read, self.send)
        try:
            answering.send(None)
        except StopIteration:
            pass
        else:
            raise RuntimeError(
                f"{self.path.decode()} waits for something, which this server cannot"
            )
        self.path, self.body, self.headers = b"", b"", []

    async def read(self) -> Message:
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # with the length, as our apps have it
            head = b"".join([b"%b: %b\r\n" % header for header in message["headers"]])
            self.out.append(b"HTTP/1.1 %d OK\r\n%b\r\n" % (message["status"], head))
        else:
            self.out.append(message["body"])


@contextmanager
def serving(app: App, host: str, port: int, **_: object) -> Iterator[str]:
    """Serve `app` until the process ends."""
    ready = threading.Event()

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: Bare(app), host, port, backlog=1024
        )
        ready.set()
        await server.serve_forever()

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(serve())

    threading.Thread(target=run, daemon=True).start()
    ready.wait()
    yield f"http://{host}:{port}"
