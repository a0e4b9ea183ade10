"""A third party on a free port of this machine, which answers, fails, hangs and lies on demand."""

import asyncio
import json
import threading
from collections import Counter
from contextlib import contextmanager

from headwater.serving.third_party.fetcher import ThirdPartyFetcher


class Party:
    """An HTTP server whose `behaviour` is a coroutine function of (party, path, body, headers,
    writer); it may be changed at any time.
    """

    def __init__(self):
        self.behaviour = says({"score": 0.5})
        self.calls = []  # (method, path, body)
        self.headers = []
        self.under_way = self.most = self.connections = 0
        self.counts = Counter()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def serving(self):
        ready, loop = threading.Event(), asyncio.new_event_loop()

        async def serve():
            self.stop = asyncio.Event()
            server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self.stop.wait()
            server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)  # transports end a turn later

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(self.stop.set)
            thread.join(10)
            loop.close()

    async def connected(self, reader, writer):
        self.connections += 1
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                headers = {}
                while line := (await reader.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.calls.append((method, path, body))
                self.headers.append(headers)
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                try:
                    if await self.behaviour(self, path, body, writer) == "close":
                        return
                finally:
                    self.under_way -= 1
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()


async def send(
    writer, body, status="200 OK", content_type="application/json", length=None, more=""
):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: "
        f"{len(data) if length is None else length}\r\n{more}\r\n"
    )
    writer.write(head.encode() + data)
    await writer.drain()


def says(body, after=0.0, **more):
    """Answers this, after so many seconds."""

    async def behave(party, path, asked, writer):
        await asyncio.sleep(after)
        await send(writer, body(path) if callable(body) else body, **more)

    return behave


async def hangs(party, path, body, writer):
    await asyncio.sleep(60)


async def hangs_midway(party, path, body, writer):
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"
    )
    await writer.drain()
    await asyncio.sleep(60)


async def closes(party, path, body, writer):
    return "close"


async def closes_midway(party, path, body, writer):
    await send(writer, b'{"score"', length=14)
    return "close"


async def speaks_no_http(party, path, body, writer):
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    await writer.drain()
    return "close"


def in_turn(*behaviours):
    """The first call, the second, ...; then the last for ever."""
    left = list(behaviours)

    async def behave(party, path, body, writer):
        one = left.pop(0) if len(left) > 1 else left[0]
        return await one(party, path, body, writer)

    return behave


def ask(features, *addresses, **more):
    """What the features are for these addresses: (third party, one request at a time)."""

    async def run():
        third = ThirdPartyFetcher(features if isinstance(features, list) else [features])
        try:
            return await third.get({"ip_address": list(addresses)}, len(addresses), **more), third
        finally:
            await third.close()

    return asyncio.run(run())
