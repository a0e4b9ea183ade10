"""HTTP clients of a service: a blocking one, by http.client, and one for asyncio, by httpx."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from headwater import clock, settings
from headwater.definitions.connectors import Env
from headwater.errors import HeadwaterError, LostError, UsageError
from headwater.retries import Backoff
from headwater.serving.client.address import CONNECT_SECONDS, IDLE_SECONDS, ServiceAddress
from headwater.serving.client.blocking_connections import BlockingConnections
from headwater.serving.client.calls import Call, Reply
from headwater.serving.client.methods import AsyncMethods, Methods
from headwater.version import __version__

if TYPE_CHECKING:
    from headwater.serving.async_connections import AsyncConnections

T = TypeVar("T")

_PAUSES: Final = Backoff(first=0.05, longest=2.0)
_MAY_PASS: Final = (429, 502, 503, 504)


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
        attempts = _Attempts(self._timeout, self._retries)
        while True:
            try:
                reply = self._connections.send(call, attempts.seconds)
            except OSError as error:
                pause = attempts.pause(self._address.no_answer(error))
            else:
                if reply.status in call.good:
                    return call.result(reply)
                pause = attempts.pause(reply.error(), reply)
            clock.wait(pause)


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
        self._connections = _async_connections(self._address)

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
        attempts = _Attempts(self._timeout, self._retries)
        while True:
            try:
                reply = await self._sent(call, attempts.seconds)
            except OSError as error:
                pause = attempts.pause(self._address.no_answer(error))
            else:
                if reply.status in call.good:
                    return call.result(reply)
                pause = attempts.pause(reply.error(), reply)
            await asyncio.sleep(pause)

    async def _sent(self, call: Call[T], seconds: float) -> Reply:
        """The response to a request.

        Raises:
            OSError: there is none; TimeoutError where it took too long.
        """
        import httpx

        address = self._address
        request = httpx.Request(
            call.method,
            httpx.URL(
                scheme=address.scheme,
                host=address.host,
                port=address.port,
                raw_path=(address.path + call.target).encode("ascii"),
            ),
            headers={**address.headers, **call.headers},
            content=call.body,
            # before the call ends: httpcore leaves a socket open whose handshake is cancelled
            extensions={"timeout": {"connect": min(CONNECT_SECONDS, 0.9 * seconds)}},
        )
        try:
            async with asyncio.timeout(seconds), self._connections.taken() as connection:
                response = await connection.handle_async_request(request)
                body = b"".join([part async for part in response.aiter_raw()])
        except httpx.TimeoutException as error:
            raise TimeoutError from error
        except httpx.HTTPError as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        return Reply(response.status_code, response.headers, body)


class _Attempts:
    """The attempts of a call, within `timeout` and `retries`."""

    def __init__(self, timeout: float, retries: int) -> None:
        self._until = clock.stopwatch() + timeout
        self._pauses = _PAUSES.within(timeout, times=retries)

    @property
    def seconds(self) -> float:
        """Seconds that the next attempt may take."""
        return max(self._until - clock.stopwatch(), 0.001)

    def pause(self, error: HeadwaterError, reply: Reply | None = None) -> float:
        """Seconds until the call is sent again, after no response or a status of `_MAY_PASS`.

        Raises:
            HeadwaterError: this error, where the call is not sent again: it will not pass, or there
                is no time or retry left, or commits were lost, which no repetition brings back.
        """
        least = 0.0
        if reply is not None:
            if reply.status not in _MAY_PASS or isinstance(error, LostError):
                raise error
            retry_after = reply.headers.get("retry-after", "")
            least = float(retry_after) if retry_after.isdecimal() else 0.0
        pause = next(self._pauses, None)
        if pause is None or clock.stopwatch() + least >= self._until:
            raise error
        return max(pause, least)


def _async_connections(address: ServiceAddress) -> AsyncConnections:
    """Loads httpx, which the blocking client does without."""
    import ssl

    from headwater.serving.async_connections import AsyncConnections

    return AsyncConnections(
        address.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), idle_seconds=IDLE_SECONDS
    )


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
