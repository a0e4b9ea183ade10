"""Forwards pushed events from a worker to the ingestion process, and returns its response."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from headwater import clock
from headwater.serving.http.asgi import Refused
from headwater.serving.http.auth import is_loopback
from headwater.serving.http.event_receiver import ROUTE, SECRET
from headwater.stores import OnlineStore, keyspace

_CONNECT: Final = 2.0  # seconds
_ANSWER: Final = 60.0
_KNOWN_FOR: Final = 1.0  # seconds until the address is read again
HEADERS: Final = (b"idempotency-key", b"content-type")


class Forwarded(NamedTuple):
    """The response of the ingestion process. again: seconds until a retry."""

    status: int
    body: bytes
    again: int | None


class _Error(msgspec.Struct):
    """The fields that the body of every error response must have."""

    error: str
    request_id: str


class _Rejected(msgspec.Struct):
    """A response that rejects every event."""

    refused: list[msgspec.Raw]


class _Receiver(NamedTuple):
    """Address of the ingestion process, and the secret that admits requests."""

    url: str
    secret: str


class Forwarder:
    """Forwards events; the online store holds the address of the ingestion process and its secret.

    Args:
        store: read once a second for a source at most, in a thread if it is across the network.
        hosts: allowed targets besides this machine.
    """

    def __init__(self, store: OnlineStore, hosts: Collection[str] = ()) -> None:
        self._store, self._hosts = store, frozenset(host.lower() for host in hosts)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(_ANSWER, connect=_CONNECT), trust_env=False
        )
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="receiver-lookup")
        self._receivers: dict[str, tuple[float, _Receiver]] = {}
        self._looking: dict[str, asyncio.Task[_Receiver]] = {}

    async def forward(
        self, source: str, data: bytes, headers: Mapping[bytes, bytes], request_id: bytes
    ) -> Forwarded:
        """Forward events, with the headers `HEADERS`.

        Raises:
            Refused: 400, a header is not ASCII; 503, no ingestion process, an untrusted address, or
                no response.
            StoreError: the online store cannot be read.
        """
        forwarded = {
            name.decode(): _ascii(name, headers[name]) for name in HEADERS if name in headers
        }
        receiver = await self._receiver(source)
        passed = {
            **forwarded,
            SECRET.decode(): receiver.secret,
            "x-request-id": request_id.decode(),
        }
        try:
            response = await self._client.post(
                f"{receiver.url}{ROUTE}{quote(source)}", content=data, headers=passed
            )
        except httpx.HTTPError as error:
            self._receivers.pop(source, None)
            if isinstance(error, httpx.ConnectError):
                raise Refused(
                    503, f"the ingestion process does not respond at {receiver.url}", again=1
                ) from error
            raise Refused(
                503,
                "the response was lost, and the events may have been accepted; send the same "
                "request again",
                again=1,
            ) from error
        if response.status_code == 401:  # restarted, with a new secret
            self._receivers.pop(source, None)
            raise Refused(
                503,
                "the ingestion process has just been restarted; send the same request again",
                again=1,
            )
        again = response.headers.get("retry-after", "")
        return Forwarded(
            response.status_code, _checked(response), int(again) if again.isdigit() else None
        )

    async def close(self) -> None:
        """Close connections, and end the thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._client.aclose()

    async def _receiver(self, source: str) -> _Receiver:
        """The ingestion process that writes a source, by one read of the store for concurrent
        requests.
        """
        if (
            source in self._receivers
            and clock.stopwatch() - self._receivers[source][0] < _KNOWN_FOR
        ):
            return self._receivers[source][1]
        if source not in self._looking or self._looking[source].done():
            self._looking[source] = asyncio.create_task(self._look(source))
        return await asyncio.shield(self._looking[source])

    async def _look(self, source: str) -> _Receiver:
        keys = keyspace.receiver(self._store.namespace + source)
        if self._store.capabilities.remote:
            address, secret = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._store.get, keys
            )
        else:
            address, secret = self._store.get(keys)
        if address is None or secret is None:
            raise Refused(
                503,
                f"no process ingests the pushed events of {source!r}; start `headwater ingest`",
                again=5,
            )
        receiver = _Receiver(address.decode(), secret.decode())
        host = httpx.URL(receiver.url).host
        if not is_loopback(host) and host not in self._hosts:
            raise Refused(
                503,
                f"the ingestion process runs on another host, {host!r}; allow it with "
                f"--forward-to {host}",
                again=5,
            )
        self._receivers[source] = clock.stopwatch(), receiver
        return receiver


def _ascii(name: bytes, value: bytes) -> str:
    """The value of a header to forward.

    Raises:
        Refused: 400, it holds other bytes than printable ASCII.
    """
    if not value.isascii() or not value.decode("ascii").isprintable():
        raise Refused(
            400, f"the header {name.decode().title()} holds a byte that is not printable ASCII"
        )
    return value.decode("ascii")


def _checked(response: httpx.Response) -> bytes:
    """The body of a response; an error must have the form of headwater's errors.

    Raises:
        Refused: it has another form, so the sender is not headwater.
    """
    if response.status_code >= 400:
        try:
            msgspec.json.decode(
                response.content,
                type=_Rejected
                if response.status_code == 422 and b'"refused"' in response.content
                else _Error,
            )
        except (msgspec.DecodeError, RecursionError) as error:
            message = (
                f"the ingestion process responded with {response.status_code} and no reason, and "
                "the events may have been accepted"
            )
            raise Refused(503, message, again=1) from error
    return response.content
