"""HTTP clients of a service, blocking and asyncio. Requests and responses are encoded and decoded
in protocol.py.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self, TypeVar

from headwater import settings
from headwater.definitions.connectors import Env
from headwater.errors import UsageError
from headwater.serving.client import protocol
from headwater.serving.client.async_connections import AsyncConnections
from headwater.serving.client.connections import BlockingConnections
from headwater.serving.client.methods import AsyncMethods, Methods
from headwater.serving.client.protocol import Call, Lost, Reply, Send, Wait
from headwater.serving.client.wire import ServiceAddress
from headwater.version import __version__

T = TypeVar("T")


class Client(Methods):
    """Client of a service that `headwater serve` runs, with the methods and results of
    `hw.operations.Service`. Threads may share one.

    Args:
        url: address of the service, such as http://127.0.0.1:8320.
        token: as printed by `headwater token new`, or hw.env(...) of the variable that holds it;
            None for a service without tokens.
        timeout: seconds that a call may take, including retries.
        retries: how often a request is sent again after no response or a response of status 429,
            502, 503 or 504.

    Raises:
        UsageError: an invalid URL, timeout or count; an environment variable that is not set.

    Every method raises the error that the service reports: DataError, UsageError, StoreError,
    ModelError, BusyError and so on, AccessError for a token without the scope, and ConnectError
    without a response. `error.request_id` is its id in the service's log.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     with (
    ...         hw.operations.serve(project, store, listen="127.0.0.1:8328", models={}) as url,
    ...         hw.client.Client(url) as client,
    ...     ):
    ...         row = client.features("churn_v1", {"user": 1}).rows[0]
    >>> row["user__count_1d"].status
    'present'
    """

    def __init__(
        self, url: str, *, token: str | Env | None = None, timeout: float = 10.0, retries: int = 2
    ) -> None:
        self._timeout, self._retries = _checked(timeout, retries)
        self._address = ServiceAddress(url, _headers(token))
        self._connections = BlockingConnections(self._address)

    def __repr__(self) -> str:
        return f"Client({self._address.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _ask(self, call: Call[T]) -> T:
        steps = protocol.conversation(call, timeout=self._timeout, retries=self._retries)
        request = self._address.request(call)
        reply: Reply | Lost | None = None
        try:
            while True:
                match steps.send(reply):
                    case Send(timeout):
                        reply = self._sent(request, timeout)
                    case Wait(seconds):
                        time.sleep(seconds)
                        reply = None
        except StopIteration as end:
            content: T = end.value
            return content

    def _sent(self, request: bytes, seconds: float) -> Reply | Lost:
        try:
            return self._connections.send(request, seconds)
        except OSError as error:
            return self._address.lost(error)


class AsyncClient(AsyncMethods):
    """`Client` for asyncio: each call is awaited, and may be cancelled.

    >>> import asyncio, headwater as hw
    >>> async def ask():
    ...     async with hw.client.AsyncClient("http://127.0.0.1:9", retries=0) as client:
    ...         return await client.health()
    >>> asyncio.run(ask())
    Traceback (most recent call last):
    headwater.errors.ConnectError: no answer from http://127.0.0.1:9: ...; is `headwater serve` running there?
    """  # noqa: E501 (output as it is printed)

    def __init__(
        self, url: str, *, token: str | Env | None = None, timeout: float = 10.0, retries: int = 2
    ) -> None:
        self._timeout, self._retries = _checked(timeout, retries)
        self._address = ServiceAddress(url, _headers(token))
        self._connections = AsyncConnections(self._address)

    def __repr__(self) -> str:
        return f"AsyncClient({self._address.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def _ask(self, call: Call[T]) -> T:
        steps = protocol.conversation(call, timeout=self._timeout, retries=self._retries)
        request = self._address.request(call)
        reply: Reply | Lost | None = None
        try:
            while True:
                match steps.send(reply):
                    case Send(timeout):
                        reply = await self._sent(request, timeout)
                    case Wait(seconds):
                        await asyncio.sleep(seconds)
                        reply = None
        except StopIteration as end:
            content: T = end.value
            return content

    async def _sent(self, request: bytes, seconds: float) -> Reply | Lost:
        try:
            return await self._connections.send(request, seconds)
        except OSError as error:
            return self._address.lost(error)


def _checked(timeout: float, retries: int) -> tuple[float, int]:
    if not timeout > 0 or retries < 0:
        raise UsageError(
            f"timeout is {timeout} and retries {retries}; give a time above 0 seconds, and no "
            "negative count"
        )
    return timeout, retries


def _headers(token: str | Env | None) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"headwater/{__version__}",
    }
    if token is None:
        return headers
    return headers | {
        "authorization": (
            f"Bearer {settings.secret(token.name) if isinstance(token, Env) else token}"
        )
    }
