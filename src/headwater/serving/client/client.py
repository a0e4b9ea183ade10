"""HTTP clients of a service, blocking and asyncio. Requests and responses are encoded and decoded in protocol.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from headwater import clock, settings
from headwater.definitions.streams import Env
from headwater.errors import UsageError
from headwater.serving.client import protocol
from headwater.serving.client.protocol import Call, Lost, Reply, Rows, Send, Wait
from headwater.serving.client.transport import DEADLINE, DeadlineTransport
from headwater.serving.http.response_schema import Explained, Features, Health, Posted, Predictions, Ranked, Taken
from headwater.version import __version__

T = TypeVar("T")

_CONNECT: Final = 2.0  # seconds, at most
_MANY: Final = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)


class Client:
    """Client of a service that `headwater serve` runs, with the methods and results of `hw.Service`. Threads may share one.

    Args:
        url: address of the service, such as http://127.0.0.1:8320.
        token: as printed by `headwater token new`, or hw.env(...) of the variable that holds it; None for a service without tokens.
        timeout: seconds that a call may take, including retries.
        retries: how often a request is sent again after no response or a response of status 429, 502, 503 or 504.

    Raises:
        UsageError: an invalid URL, timeout or count; an environment variable that is not set.

    Every method raises the error that the service reports: DataError, UsageError, StoreError, ModelError, BusyError and so on, AccessError
    for a token without the scope, and ConnectError where there is no response. `error.request_id` is its id in the service's log.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     with hw.serve(project, store, http="127.0.0.1:8328", models={}) as url, hw.Client(url) as client:
    ...         row = client.features("churn_v1", {"user": 1}).rows[0]
    >>> row["user__count_1d"].status
    'present'
    """

    def __init__(self, url: str, *, token: str | Env | None = None, timeout: float = 10.0, retries: int = 2) -> None:
        self._timeout, self._retries = _checked(timeout, retries)
        self._http = httpx.Client(base_url=_base(url), headers=_headers(token), transport=DeadlineTransport(_MANY), trust_env=False)

    def __repr__(self) -> str:
        return f"Client({str(self._http.base_url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def features(self, service: str, rows: Rows, *, level: str | None = None, request_id: str | None = None) -> Features:
        """The current features of one row or several; as `hw.Service.features`."""
        return self._ask(protocol.features(service, rows, level, request_id))

    def predict(
        self,
        model: str,
        rows: Rows,
        *,
        level: str | None = None,
        features: bool = False,
        timing: bool = False,
        request_id: str | None = None,
    ) -> Predictions:
        """The predictions for one row or several; as `hw.Service.predict`.

        timing: return the milliseconds of each stage. request_id: the id of the request in the serving log and in `outcomes`.
        """
        return self._ask(protocol.predict(model, rows, level, request_id, with_features=features, timing=timing))

    def rank(
        self,
        model: str,
        row: Mapping[str, object],
        *,
        candidates: Sequence[object] | None = None,
        k: int = 10,
        level: str | None = None,
        features: bool = False,
        timing: bool = False,
        request_id: str | None = None,
    ) -> Ranked:
        """The best candidates of one request, the best first; as `hw.Service.rank`."""
        return self._ask(protocol.rank(model, row, candidates, k, level, request_id, with_features=features, timing=timing))

    def events(self, source: str, events: Rows, *, key: str | None = None) -> Taken:
        """Push one event or several, and wait until they are durable.

        Args:
            source: the name of a source whose stream is `hw.push(...)`.
            events: mappings; timestamps as datetimes or ISO 8601.
            key: the Idempotency-Key of the request; None makes one, so that events that this client sends again count once.
        """
        return self._ask(protocol.events(source, events, key))

    def outcomes(self, labels: str, outcomes: Rows) -> Posted:
        """Post the outcomes of one request or several, and wait until they are durable; rows as for `hw.Service.outcomes`."""
        return self._ask(protocol.outcomes(labels, outcomes))

    def explain(self, feature: str, keys: Mapping[str, object], *, at: datetime | str | None = None, events: int = 20) -> Explained:
        """Explain the value of a feature by its latest `events`; as `hw.explain`."""
        return self._ask(protocol.explain(feature, keys, at, events))

    def health(self) -> Health:
        """The readiness of the service."""
        return self._ask(protocol.health())

    def _ask(self, call: Call[T]) -> T:
        steps = protocol.conversation(call, timeout=self._timeout, retries=self._retries)
        reply: Reply | Lost | None = None
        try:
            while True:
                match steps.send(reply):
                    case Send(timeout):
                        reply = self._sent(call, timeout)
                    case Wait(seconds):
                        time.sleep(seconds)
                        reply = None
        except StopIteration as end:
            content: T = end.value
            return content

    def _sent(self, call: Call[T], seconds: float) -> Reply | Lost:
        try:
            return _reply(
                self._http.request(
                    call.method,
                    call.path,
                    content=call.body,
                    params=call.query,
                    headers=call.headers,
                    timeout=_within(seconds),
                    extensions={DEADLINE: clock.stopwatch() + seconds},
                )
            )
        except httpx.HTTPError as error:
            return _lost(error, self._http.base_url)


class AsyncClient:
    """`Client` for asyncio: each call is awaited, and may be cancelled.

    >>> import asyncio, headwater as hw
    >>> async def ask():
    ...     async with hw.AsyncClient("http://127.0.0.1:9", retries=0) as client:
    ...         return await client.health()
    >>> asyncio.run(ask())
    Traceback (most recent call last):
    headwater.errors.ConnectError: no answer from http://127.0.0.1:9: All connection attempts failed; is `headwater serve` running there?
    """

    def __init__(self, url: str, *, token: str | Env | None = None, timeout: float = 10.0, retries: int = 2) -> None:
        self._timeout, self._retries = _checked(timeout, retries)
        self._http = httpx.AsyncClient(base_url=_base(url), headers=_headers(token), limits=_MANY, trust_env=False)

    def __repr__(self) -> str:
        return f"AsyncClient({str(self._http.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def features(self, service: str, rows: Rows, *, level: str | None = None, request_id: str | None = None) -> Features:
        """As `Client.features`."""
        return await self._ask(protocol.features(service, rows, level, request_id))

    async def predict(
        self,
        model: str,
        rows: Rows,
        *,
        level: str | None = None,
        features: bool = False,
        timing: bool = False,
        request_id: str | None = None,
    ) -> Predictions:
        """As `Client.predict`."""
        return await self._ask(protocol.predict(model, rows, level, request_id, with_features=features, timing=timing))

    async def rank(
        self,
        model: str,
        row: Mapping[str, object],
        *,
        candidates: Sequence[object] | None = None,
        k: int = 10,
        level: str | None = None,
        features: bool = False,
        timing: bool = False,
        request_id: str | None = None,
    ) -> Ranked:
        """As `Client.rank`."""
        return await self._ask(protocol.rank(model, row, candidates, k, level, request_id, with_features=features, timing=timing))

    async def events(self, source: str, events: Rows, *, key: str | None = None) -> Taken:
        """As `Client.events`."""
        return await self._ask(protocol.events(source, events, key))

    async def outcomes(self, labels: str, outcomes: Rows) -> Posted:
        """As `Client.outcomes`."""
        return await self._ask(protocol.outcomes(labels, outcomes))

    async def explain(self, feature: str, keys: Mapping[str, object], *, at: datetime | str | None = None, events: int = 20) -> Explained:
        """As `Client.explain`."""
        return await self._ask(protocol.explain(feature, keys, at, events))

    async def health(self) -> Health:
        """As `Client.health`."""
        return await self._ask(protocol.health())

    async def _ask(self, call: Call[T]) -> T:
        steps = protocol.conversation(call, timeout=self._timeout, retries=self._retries)
        reply: Reply | Lost | None = None
        try:
            while True:
                match steps.send(reply):
                    case Send(timeout):
                        reply = await self._sent(call, timeout)
                    case Wait(seconds):
                        await asyncio.sleep(seconds)
                        reply = None
        except StopIteration as end:
            content: T = end.value
            return content

    async def _sent(self, call: Call[T], seconds: float) -> Reply | Lost:
        try:
            async with asyncio.timeout(seconds):
                return _reply(
                    await self._http.request(
                        call.method, call.path, content=call.body, params=call.query, headers=call.headers, timeout=_within(seconds)
                    )
                )
        except (httpx.HTTPError, TimeoutError) as error:
            return _lost(error, self._http.base_url)


def _checked(timeout: float, retries: int) -> tuple[float, int]:
    if not timeout > 0 or retries < 0:
        raise UsageError(f"timeout is {timeout} and retries {retries}; give a time above 0 seconds, and no negative count")
    return timeout, retries


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"the service's address is {url!r}; give a URL such as http://127.0.0.1:8320")
    return url


def _headers(token: str | Env | None) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept": "application/json", "user-agent": f"headwater/{__version__}"}
    if token is None:
        return headers
    return headers | {"authorization": f"Bearer {settings.secret(token.name) if isinstance(token, Env) else token}"}


def _within(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT))


def _reply(answer: httpx.Response) -> Reply:
    return Reply(answer.status_code, answer.headers, answer.content)


def _lost(error: Exception, url: httpx.URL) -> Lost:
    reason = str(error) or ("the time is over" if isinstance(error, TimeoutError | httpx.TimeoutException) else type(error).__name__)
    return Lost(f"no answer from {str(url).rstrip('/')}: {reason}; is `headwater serve` running there?")
