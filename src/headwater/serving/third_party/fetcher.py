"""Third-party features in the request path: called concurrently, cached, deduplicated,
time-limited. A prediction is always returned.

    request -> cached responses -> calls in progress for other requests -> new calls (breaker,
    connections, retries) -> fallback values

If responses are cached, a call continues to its own timeout after the request that started it has
timed out, so that later requests have its result.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import httpx

from headwater import clock
from headwater.definitions.checks import SECOND, micros
from headwater.definitions.http_features import HttpFeatures
from headwater.errors import DataError
from headwater.events.columns import MISSING, PRESENT, STATUSES
from headwater.retries import Backoff
from headwater.serving.async_connections import AsyncConnections
from headwater.serving.third_party.call_result import CallCounts, CallSummary, ThirdPartyResult
from headwater.serving.third_party.circuit_breaker import CircuitBreaker
from headwater.serving.third_party.http_call import (
    CallError,
    Columns,
    Fields,
    ThirdPartyCaller,
)

FALLBACK: Final = STATUSES.index("fallback")
# share of the timeout: the longest pause before the first retry; doubled for each next one
_PAUSE: Final = 0.05

OnAnswer = Callable[[HttpFeatures, Fields, Columns, int], None]
"""Called with each response of a third party: request fields, columns, and t of the request that it
was fetched for, microseconds.
"""


class ThirdPartyFetcher:
    """Fetches the third-party features of a feature service; one in each process and event loop.
    `counts`: by third party.

    Args:
        features: `FeatureService.http_features`.
        on_answer: called with each response; it must not block.
        now: a monotonic clock, seconds.

    Raises:
        UsageError: a secret is not in the environment.
    """

    def __init__(
        self,
        features: Iterable[HttpFeatures],
        *,
        on_answer: OnAnswer | None = None,
        now: Callable[[], float] = clock.stopwatch,
    ) -> None:
        definitions = list(features)
        self._now = now
        verify = httpx.create_ssl_context(trust_env=False)
        self._third_parties = [
            _PartyClient(
                http,
                ThirdPartyCaller(http),
                AsyncConnections(verify, most=http.concurrency),
                on_answer,
                now,
            )
            for http in definitions
        ]
        self.counts = {party.http.name: party.counts for party in self._third_parties}

    async def get(
        self,
        request: Mapping[str, Sequence[object]],
        count: int,
        *,
        seconds: float | None = None,
        t: int | None = None,
    ) -> ThirdPartyResult:
        """The features of `count` rows, given as columns of request fields.

        Args:
            request: columns; those that the third parties need are read.
            count: number of rows.
            seconds: time limit, after which calls are cut off; None waits for the third parties'
                own timeouts.
            t: request time, microseconds; None is now.

        Raises:
            DataError: a field is missing, or of a type other than defined.
        """
        start, at = self._now(), clock.now_micros() if t is None else t
        looks = [party.look(request, count) for party in self._third_parties]
        try:
            if seconds is None or seconds > 0:
                for look in looks:
                    look.begin(at)
                pending = {flight.task for look in looks for flight in look.flights.values()}
                remaining = None if seconds is None else max(seconds - (self._now() - start), 0.0)
                if pending:
                    await _wait(looks, pending, remaining, start, self._now)
        finally:
            for look in looks:
                look.leave()
        called = ThirdPartyResult({}, {}, {}, {})
        for look in looks:
            look.add_to(called)
        return called

    def states(self) -> dict[str, str]:
        """The state of each circuit breaker: closed, open or half-open."""
        return {party.http.name: party.breaker.state for party in self._third_parties}

    async def close(self) -> None:
        """Cancel all calls and close connections."""
        for party in self._third_parties:
            await party.close()


async def _wait(
    looks: Sequence[_Lookup],
    pending: set[asyncio.Task[_CachedResponse | str]],
    remaining: float | None,
    start: float,
    now: Callable[[], float],
) -> None:
    """Wait until all calls are done or the time is over; record for each third party when its calls
    were done.
    """
    until = None if remaining is None else now() + remaining
    while pending:
        _, pending = await asyncio.wait(
            pending,
            timeout=None if until is None else max(until - now(), 0.0),
            return_when=asyncio.FIRST_COMPLETED,
        )
        for look in looks:
            if (
                look.flights
                and look.seconds == 0.0
                and not any(flight.task in pending for flight in look.flights.values())
            ):
                look.seconds = now() - start
        if until is not None and now() >= until:
            break
    for look in looks:
        if look.flights and look.seconds == 0.0:
            look.seconds = now() - start


@dataclass(frozen=True)
class _CachedResponse:
    """A cached response, and when it arrived on the monotonic clock."""

    columns: Columns
    at: float


@dataclass
class _CallInProgress:
    """A call in progress, and the number of requests that wait for it."""

    task: asyncio.Task[_CachedResponse | str]
    waiting: int = 0


class _PartyClient:
    """One third party: its cached responses, calls in progress, circuit breaker and connections."""

    def __init__(
        self,
        http: HttpFeatures,
        caller: ThirdPartyCaller,
        places: AsyncConnections,
        on_answer: OnAnswer | None,
        now: Callable[[], float],
    ) -> None:
        self.http, self.caller, self.now = http, caller, now
        self.counts = CallCounts()
        self.breaker = CircuitBreaker(
            None if http.breaker is None else micros(http.breaker, "breaker") / SECOND, now=now
        )
        self.fresh = micros(http.cache, "cache") / SECOND
        self.oldest = http.oldest / SECOND
        self.flights: dict[Fields, _CallInProgress] = {}
        self._timeout = micros(http.timeout, "timeout") / SECOND
        self._cached: OrderedDict[Fields, _CachedResponse] = OrderedDict()
        self._calling: set[Fields] = set()
        self._places, self._on_answer = places, on_answer

    def look(self, request: Mapping[str, Sequence[object]], count: int) -> _Lookup:
        """The lookups of rows, with cached responses.

        Raises:
            DataError: a field is missing, or of a type other than defined.
        """
        lacking = [name for name in self.http.request if name not in request]
        if lacking:
            raise DataError(
                f"the rows have no column {lacking[0]!r}, which third-party features "
                f"{self.http.name!r} needs"
            )
        if any(len(request[name]) != count for name in self.http.request):
            raise DataError(
                f"the columns that third-party features {self.http.name!r} needs hold other than "
                f"{count} values"
            )
        rows = [
            self.caller.fields(values)
            for values in zip(*(request[name] for name in self.http.request), strict=True)
        ]
        return _Lookup(
            self,
            rows,
            {
                fields: cached
                for fields in set(rows)
                if fields is not None and (cached := self.cached(fields))
            },
        )

    def cached(self, fields: Fields) -> _CachedResponse | None:
        """A cached response that has not expired; None where there is none."""
        cached = self._cached.get(fields)
        if cached is None:
            return None
        if self.now() - cached.at > self.oldest:
            del self._cached[fields]
            return None
        self._cached.move_to_end(fields)
        return cached

    def fly(self, fields: Fields, t: int) -> _CallInProgress | None:
        """The call for these fields, in progress or new; None where the breaker is open."""
        flight = self.flights.get(fields)
        if flight is None:
            if not self.breaker.allows():
                return None
            flight = self.flights[fields] = _CallInProgress(
                asyncio.create_task(self._fetch(fields, t))
            )
        return flight

    def leave(self, fields: Fields, flight: _CallInProgress) -> None:
        """Stop waiting for a call; a call without waiters is cancelled, unless its response would
        be cached.
        """
        flight.waiting -= 1
        if not flight.waiting and not self.fresh and not flight.task.done():
            self.flights.pop(fields, None)
            flight.task.cancel()

    async def close(self) -> None:
        """Cancel all calls."""
        tasks = [flight.task for flight in self.flights.values()]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._places.close()

    async def _fetch(self, fields: Fields, t: int) -> _CachedResponse | str:
        """The response, or the reason of a failure; a task, so it raises nothing."""
        start, recorded = self.now(), False
        try:
            columns = await self._answered(fields, start)
            recorded = True
            self.breaker.record(succeeded=True)
            self.counts.calls[
                "nothing" if all(value is None for value in columns) else "answered"
            ] += 1
            response = _CachedResponse(columns, self.now())
            self._keep(fields, response)
            if self._on_answer is not None:
                self._on_answer(self.http, fields, columns, t)
            return response
        except CallError as error:
            recorded = True
            if error.against:
                self.breaker.record(succeeded=False)
            else:
                self.breaker.release()
            self.counts.calls[error.reason] += 1
            return error.reason
        except asyncio.CancelledError:
            # a shorter call says nothing about the third party
            if fields in self._calling and self.now() - start >= self._timeout / 2:
                recorded = True
                self.breaker.record(succeeded=False)
            self.counts.calls["cut off"] += 1
            raise
        except Exception as error:  # noqa: BLE001 (a prediction does not fail for an optional feature; the class is counted)
            self.counts.calls[type(error).__name__] += 1
            return type(error).__name__
        finally:
            if not recorded:
                self.breaker.release()
            self._calling.discard(fields)
            self.counts.took(self.now() - start)
            flight = self.flights.get(fields)
            if flight is not None and flight.task is asyncio.current_task():
                del self.flights[fields]

    async def _answered(self, fields: Fields, start: float) -> Columns:
        """The columns, with retries within the timeout.

        Raises:
            CallError: every call failed.
        """
        reason = "no place"
        try:
            async with asyncio.timeout(self._timeout), self._places.taken() as over:
                reason = "timeout"
                self._calling.add(fields)
                repetitions = self.http.retries if self.http.repeatable else 0
                pauses = Backoff(_PAUSE * self._timeout, math.inf).within(
                    start + self._timeout - self.now(), times=repetitions
                )
                while True:
                    try:
                        return await self.caller.call(fields, over)
                    except CallError as error:
                        pause = next(pauses, None) if error.again else None
                        if pause is None:
                            raise
                    self.counts.repeated += 1
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise CallError(reason, against=reason == "timeout") from None

    def _keep(self, fields: Fields, response: _CachedResponse) -> None:
        if self.fresh:
            self._cached[fields] = response
            self._cached.move_to_end(fields)
            if len(self._cached) > self.http.cache_entries:
                self._cached.popitem(last=False)


@dataclass
class _Lookup:
    """The lookups of one request at one third party: the fields of each row (None: a null field, no
    call), and cached responses.
    """

    party: _PartyClient
    rows: list[Fields | None]
    responses: dict[Fields, _CachedResponse]
    flights: dict[Fields, _CallInProgress] = field(default_factory=dict)
    reasons: dict[Fields, str] = field(default_factory=dict)
    seconds: float = 0.0

    def begin(self, t: int) -> None:
        """Start or join the calls that are needed; stale responses are refreshed for later
        requests.
        """
        party = self.party
        for fields in dict.fromkeys(self.rows):
            if fields is None:
                continue
            cached = self.responses.get(fields)
            if cached is not None and party.now() - cached.at <= party.fresh:
                continue
            flight = party.fly(fields, t)
            if cached is not None:
                continue
            if flight is None:
                self.reasons[fields] = "open"
            else:
                flight.waiting += 1
                self.flights[fields] = flight

    def leave(self) -> None:
        """Collect the finished calls, and stop waiting for the others."""
        for fields, flight in self.flights.items():
            done = (
                flight.task.result()
                if flight.task.done() and not flight.task.cancelled()
                else "cut off"
            )
            if isinstance(done, str):
                self.reasons[fields] = done
            else:
                self.responses[fields] = done
            self.party.leave(fields, flight)

    def add_to(self, called: ThirdPartyResult) -> None:
        """Add the features of the rows, in order."""
        http, now = self.party.http, self.party.now()
        fallback = tuple(http.fallback.values())
        values: list[Columns] = []
        ages: list[float | None] = []
        codes = bytearray()
        rows: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for fields in self.rows:
            cached = None if fields is None else self.responses.get(fields)
            if fields is None:
                values.append((None,) * len(fallback))
                ages.append(None)
                codes.append(MISSING)
                rows["nothing asked"] += 1
            elif cached is None:
                values.append(fallback)
                ages.append(None)
                codes.append(FALLBACK)
                rows["fallback"] += 1
                reasons[self.reasons.get(fields, "cut off")] += 1
            else:
                age = max(now - cached.at, 0.0)
                values.append(cached.columns)
                ages.append(age)
                codes.append(PRESENT)
                rows[
                    "fetched"
                    if fields in self.flights
                    else "kept"
                    if age <= self.party.fresh
                    else "stale"
                ] += 1
        for name, column in zip(
            http.feature_names,
            zip(*values, strict=True) if values else ((),) * len(fallback),
            strict=True,
        ):
            called.values[name] = list(column)
            called.statuses[name] = bytes(
                MISSING if c == PRESENT and v is None else c
                for c, v in zip(codes, column, strict=True)
            )
        called.ages[http.name] = ages
        called.contacts[http.name] = CallSummary(rows, self.seconds, reasons)
        self.party.counts.rows.update(rows)
        self.party.counts.rows.update({f"fallback: {reason}": n for reason, n in reasons.items()})
