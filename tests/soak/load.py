"""Load on a service, of all kinds together: steady requests on many connections, idle ones, slow
senders, and those that leave.
"""

import asyncio
import contextlib
import json
import random
import time

from headwater.serving.http.connection_limits import ConnectionLimits

BODIES = [json.dumps({"row": {"user": n}}).encode() for n in range(20)]
PATH = "/v1/predict/churn"


def request(body):
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: "
        f"application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


REQUESTS = [request(body) for body in BODIES]


class Connection:
    """One connection that is kept, and opened again where the service ends it."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def ask(self, data):
        """Send a request; the status of its answer. A connection that was ended before is replaced,
        and the request sent once more.
        """
        for again in (True, False):
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                self.writer.write(data)
                head = await self.reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                await self.reader.readexactly(
                    int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                )
            except (ConnectionError, asyncio.IncompleteReadError):
                self.close()
                if not again:
                    raise
                continue
            if b"connection: close" in lower:
                self.close()
            return int(head[9:12])
        raise AssertionError

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Load:
    """What a service is asked, and how it answers.

    answers: for each request that was asked steadily, when it was due, the seconds from then to its
    answer, and its status (0: no answer).
    """

    def __init__(self, port, *, connections=1000, active=64):
        self.port, self.idle_count, self.active = port, connections - active, active
        self.answers, self.slow, self.left = [], [], 0
        self.dropped_idle = 0

    async def peak(self, seconds, connections=16):
        """Answers a second where each connection asks as soon as it was answered."""
        count, until = 0, time.monotonic() + seconds

        async def ask(n):
            nonlocal count
            one = Connection(self.port)
            while time.monotonic() < until:
                assert await one.ask(REQUESTS[(n + count) % 20]) == 200
                count += 1
            one.close()

        await asyncio.gather(*map(ask, range(connections)))
        return count / seconds

    async def run(self, rate, seconds):
        """Ask at a rate for so long, next to everything else."""
        stop = asyncio.Event()
        idle = [Connection(self.port) for _ in range(self.idle_count)]
        for connection in idle:  # one that never sends a request is soon ended
            await connection.ask(REQUESTS[0])
        opened, used = [connection.writer for connection in idle], time.monotonic()
        others = [asyncio.create_task(self._slowly(stop)) for _ in range(8)] + [
            asyncio.create_task(self._leaving(stop)) for _ in range(4)
        ]
        begin = time.monotonic()
        turns = asyncio.Queue()
        workers = [asyncio.create_task(self._steadily(turns)) for _ in range(self.active)]
        sent = 0
        while (now := time.monotonic()) < begin + seconds:
            due = int((now - begin) * rate)
            for n in range(sent, due):
                turns.put_nowait(begin + n / rate)
            sent = max(sent, due)
            await asyncio.sleep(0.002)
        for _ in workers:
            turns.put_nowait(None)
        await asyncio.gather(*workers)
        stop.set()
        await asyncio.gather(*others)
        # each is still good for a request, on the same connection
        if time.monotonic() - used < ConnectionLimits().idle_seconds:
            for connection, writer in zip(idle[::20], opened[::20], strict=True):
                status = await connection.ask(REQUESTS[0])
                self.dropped_idle += status != 200 or connection.writer is not writer
        for connection in idle:
            connection.close()

    async def _steadily(self, turns):
        one = Connection(self.port)
        while (due := await turns.get()) is not None:
            try:
                status = await one.ask(random.choice(REQUESTS))
            except (OSError, asyncio.IncompleteReadError):
                status = 0
            self.answers.append((due, time.monotonic() - due, status))
        one.close()

    async def _slowly(self, stop):
        """Send a body a few bytes at a time."""
        while not stop.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            data = random.choice(REQUESTS)
            cut = data.index(b"{")
            writer.write(data[:cut])
            for place in range(cut, len(data), 4):
                writer.write(data[place : place + 4])
                await asyncio.sleep(0.1)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                self.slow.append(int((await reader.readuntil(b"\r\n\r\n"))[9:12]))
            writer.close()

    async def _leaving(self, stop):
        """Leave in the middle of a body, or without waiting for the answer."""
        while not stop.is_set():
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            data = random.choice(REQUESTS)
            writer.write(data if self.left % 2 else data[:-5])
            await asyncio.sleep(0.01)
            writer.transport.abort()
            self.left += 1
            await asyncio.sleep(0.05)
