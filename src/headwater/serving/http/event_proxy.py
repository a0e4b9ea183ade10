"""Pushed events that reach a process which does not ingest: they are forwarded to the one that does, and its answer is passed back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from headwater import clock
from headwater.online_stores import OnlineStore, keyspace
from headwater.serving.http.asgi import Refused
from headwater.serving.http.auth import is_loopback
from headwater.serving.http.event_receiver import ROUTE, SECRET

_CONNECT: Final = 2.0  # seconds
_ANSWER: Final = 60.0
_KNOWN_FOR: Final = 1.0  # seconds between two looks for the address
HEADERS: Final = (b"idempotency-key", b"content-type")


class Forwarded(NamedTuple):
    """The answer of the process that ingests. again: in how many seconds to send the same again."""

    status: int
    body: bytes
    again: int | None


class _Error(msgspec.Struct):
    """What an error has to hold, whoever answers with it."""

    error: str
    request_id: str


class _Rejected(msgspec.Struct):
    """An answer about events of which each was rejected."""

    refused: list[msgspec.Raw]


class _Receiver(NamedTuple):
    """Where events are received, and what proves that the store was read."""

    url: str
    secret: str


class Forwarder:
    """Forwards events; the store says where the process that ingests listens, and holds the secret that it accepts.

    Args:
        store: read once a second at most, in a thread where it is across the network.
        hosts: besides this machine, to which events may be forwarded.
    """

    def __init__(self, store: OnlineStore, hosts: Collection[str] = ()) -> None:
        self._store, self._hosts = store, frozenset(host.lower() for host in hosts)
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(_ANSWER, connect=_CONNECT), trust_env=False)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="receiver-lookup")
        self._known: tuple[float, _Receiver] | None = None
        self._looking: asyncio.Task[_Receiver] | None = None

    async def forward(self, source: str, data: bytes, headers: Mapping[bytes, bytes], request_id: bytes) -> Forwarded:
        """Forward events, with those of the request's headers that concern them.

        Raises:
            Refused: a header is not ASCII (400); no process ingests, its address is not trusted, or its answer was lost (503).
            StoreError: the store does not say where events go.
        """
        given = {name.decode(): _ascii(name, headers[name]) for name in HEADERS if name in headers}
        receiver = await self._receiver()
        passed = {**given, SECRET.decode(): receiver.secret, "x-request-id": request_id.decode()}
        try:
            found = await self._client.post(f"{receiver.url}{ROUTE}{quote(source)}", content=data, headers=passed)
        except httpx.HTTPError as error:
            self._known = None
            if isinstance(error, httpx.ConnectError):
                raise Refused(503, f"the process that ingests does not answer at {receiver.url}", again=1) from error
            raise Refused(503, "the answer was lost; whether the events were taken is not known: send the same again", again=1) from error
        if found.status_code == 401:  # it was started again meanwhile, with another secret
            self._known = None
            raise Refused(503, "the process that ingests has just been started again; send the same again", again=1)
        again = found.headers.get("retry-after", "")
        return Forwarded(found.status_code, _checked(found), int(again) if again.isdigit() else None)

    async def close(self) -> None:
        """Close connections, and end the thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._client.aclose()

    async def _receiver(self) -> _Receiver:
        """Where events go, by one look for all requests that want to know at the same time."""
        if self._known is not None and clock.stopwatch() - self._known[0] < _KNOWN_FOR:
            return self._known[1]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> _Receiver:
        keys = [key + self._store.namespace.encode() for key in (keyspace.RECEIVER, keyspace.RECEIVER_SECRET)]
        if self._store.partitioned:
            address, secret = await asyncio.get_running_loop().run_in_executor(self._threads, self._store.get, keys)
        else:
            address, secret = self._store.get(keys)
        if address is None or secret is None:
            raise Refused(503, "no process ingests pushed events; start `headwater ingest`", again=5)
        receiver = _Receiver(address.decode(), secret.decode())
        host = httpx.URL(receiver.url).host
        if not is_loopback(host) and host not in self._hosts:
            raise Refused(
                503,
                f"the store names the host {host!r} as the one that ingests, which is not this machine; trust it with --forward-to {host}",
                again=5,
            )
        self._known = clock.stopwatch(), receiver
        return receiver


def _ascii(name: bytes, value: bytes) -> str:
    """The value of a header that is passed on.

    Raises:
        Refused: 400, it holds other bytes than printable ASCII.
    """
    if not value.isascii() or not value.decode("ascii").isprintable():
        raise Refused(400, f"the header {name.decode().title()} holds a byte that is not printable ASCII")
    return value.decode("ascii")


def _checked(found: httpx.Response) -> bytes:
    """The body of an answer; of an error, only one as this service describes its own.

    Raises:
        Refused: it is another one, and so not from a process of ours.
    """
    if found.status_code >= 400:
        try:
            msgspec.json.decode(found.content, type=_Rejected if found.status_code == 422 and b'"refused"' in found.content else _Error)
        except (msgspec.DecodeError, RecursionError) as error:
            message = (
                f"the process that ingests answered {found.status_code}, and did not say why; whether the events were taken is not known"
            )
            raise Refused(503, message, again=1) from error
    return found.content
