"""Work after each response, done in batches: metrics, a line of the access log, an entry of the
serving log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from headwater import clock
from headwater.journal.serving_log_rows import Kind
from headwater.serving.exposures import log_exposures
from headwater.serving.http.access_log import AccessLine, RequestLog
from headwater.serving.http.request_trace import RequestTrace
from headwater.serving.http.row_decoder import ParsedRequest
from headwater.serving.metrics.request_metrics import RequestMetrics, RouteMetrics
from headwater.serving.metrics.view_reads import ViewReads
from headwater.serving.running_experiments import RunningExperiments
from headwater.serving.serving_log_writer import ServingLogWriter
from headwater.serving.serving_result import ServingResult

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_MOST: Final = 64  # requests in a batch
_LATEST: Final = 0.03  # seconds until an incomplete batch is processed


class RequestContext:
    """The state of one request, from its arrival to its records in metrics and logs.

    id: X-Request-Id, or generated. route, name: empty where there is none. numbers: the metrics of
    its route. failed: class and code location of an unexpected error. ended: time of the response
    on the monotonic clock. size: bytes of the response. Of prediction routes: the request and its
    result. trace: what its span is made of, while requests are traced.
    """

    __slots__ = (
        "ended",
        "failed",
        "id",
        "kind",
        "name",
        "numbers",
        "request",
        "result",
        "route",
        "rows",
        "seconds",
        "size",
        "status",
        "trace",
    )

    def __init__(self, number: bytes, numbers: RouteMetrics) -> None:
        self.id, self.numbers = number, numbers
        self.route = self.name = self.failed = ""
        self.status, self.rows = 200, 0
        self.kind: Kind = "features"
        self.request: ParsedRequest | None = None
        self.result: ServingResult | None = None
        self.trace: RequestTrace | None = None
        self.size = 0
        self.seconds = self.ended = 0.0

    def parsed(self, seconds: float) -> None:
        """Note how long it took until the body was decoded."""
        if self.trace is not None:
            self.trace.parsed = seconds


class SpanMaker(Protocol):
    """What makes spans of requests, as `request_spans.RequestSpans` does."""

    def put(self, call: RequestContext, ended: int) -> None:
        """Add an answered request, which ended at `ended`, microseconds UTC. It never waits."""
        ...

    def outgoing(self, call: RequestContext) -> str:
        """The header `traceparent` for calls of third parties."""
        ...

    def collect(self) -> Iterable[Metric]:
        """The collector interface of prometheus_client."""
        ...

    def close(self) -> None:
        """Export what waits."""
        ...


class PostResponseQueue:
    """Collects answered requests from the event loop and records them in batches, which costs half
    as much as one at a time.

    spans: what makes spans of them; None where requests are not traced. reads: what counts reads of
    views with an objective of freshness; None without any.
    """

    def __init__(
        self,
        numbers: RequestMetrics,
        log: RequestLog,
        recorder: ServingLogWriter | None,
        experiments: RunningExperiments,
    ) -> None:
        self._log, self._recorder, self._experiments = log, recorder, experiments
        self._waiting: list[RequestContext] = []
        self._timer: asyncio.TimerHandle | None = None
        self.spans: SpanMaker | None = None
        self.reads: ViewReads | None = None
        numbers.before(self.settle)

    def begin(
        self, number: bytes, numbers: RouteMetrics, method: str, headers: Mapping[bytes, bytes]
    ) -> RequestContext:
        """The state of a request that has arrived."""
        call = RequestContext(number, numbers)
        if self.spans is not None:
            call.trace = RequestTrace(method, headers)
        return call

    def put(self, call: RequestContext) -> None:
        """Add a request that has been answered."""
        self._waiting.append(call)
        if len(self._waiting) >= _MOST:
            self.settle()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LATEST, self.settle)

    def settle(self) -> None:
        """Record all that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        now, ended, exposures = clock.now_micros(), clock.stopwatch(), self._experiments.log
        for call in waiting:
            result, number = call.result, call.id.decode("ascii")
            if result is not None:
                if result.arms:
                    log_exposures(exposures, number, result)
                if result.parts:
                    for part in result.parts:
                        call.numbers.answer(part.result)
                        if self._recorder is not None:
                            self._recorder.put(
                                call.kind, number, part.request, part.result, call.seconds, part.arm
                            )
                else:
                    call.numbers.answer(result)
                    if self._recorder is not None and call.request is not None:
                        arms = call.request.arms
                        arm = None if arms is None else arms.groups[0].arm
                        self._recorder.put(
                            call.kind, number, call.request, result, call.seconds, arm
                        )
            call.numbers.rows += call.rows
            call.numbers.request(call.status, call.seconds)
            if self._log.on:
                at = now - round((ended - call.ended) * 1e6)
                self._log.put(
                    AccessLine(
                        at,
                        number,
                        call.route,
                        call.name,
                        call.status,
                        call.seconds,
                        call.rows,
                        call.failed,
                    )
                )
        self._observe(waiting, now, ended)
        if self._recorder is not None:
            self._recorder.write()

    def _observe(self, calls: Sequence[RequestContext], now: int, ended: float) -> None:
        """Count reads, and make spans; `now` microseconds UTC, and the same time on the monotonic
        clock.
        """
        if self.reads is not None:
            for call in calls:
                if call.result is not None:
                    self.reads.count(call.kind, call.result)
        if self.spans is not None:
            for call in calls:
                self.spans.put(call, now - round((ended - call.ended) * 1e6))

    def close(self) -> None:
        """Record all that wait, and write the log."""
        self.settle()
        if self.spans is not None:
            self.spans.close()
        self._log.close()
