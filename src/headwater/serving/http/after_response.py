"""Work after each response, done in batches: metrics, a line of the access log, an entry of the serving log."""

from __future__ import annotations

import asyncio
from typing import Final

from headwater import clock
from headwater.logs.serving_log_rows import Kind
from headwater.serving.http.access_log import Line, RequestLog
from headwater.serving.http.handlers import Ready, Said
from headwater.serving.metrics.request_metrics import Numbers, RouteNumbers
from headwater.serving.serving_log_writer import Recorder

_MOST: Final = 64  # requests in a batch
_LATEST: Final = 0.05  # seconds until an incomplete batch is processed


class Call:
    """The state of one request, from its arrival to its records in metrics and logs.

    id: X-Request-Id, or generated. route, name: empty where there is none. numbers: the metrics of its route. failed: class and code
    location of an unexpected error. ended: time of the response on the monotonic clock. Of prediction routes: request time `t` and level.
    """

    __slots__ = ("ended", "failed", "id", "kind", "level", "name", "numbers", "ready", "route", "rows", "said", "seconds", "status", "t")

    def __init__(self, number: bytes, numbers: RouteNumbers) -> None:
        self.id, self.numbers = number, numbers
        self.route = self.name = self.failed = ""
        self.status, self.rows, self.t = 200, 0, 0
        self.kind: Kind = "features"
        self.level: str | None = None
        self.ready: Ready | None = None
        self.said: Said | None = None
        self.seconds = self.ended = 0.0


class Ledger:
    """Collects answered requests from the event loop and records them in batches, which costs half as much as one at a time."""

    def __init__(self, numbers: Numbers, log: RequestLog, recorder: Recorder | None) -> None:
        self._log, self._recorder = log, recorder
        self._waiting: list[Call] = []
        self._timer: asyncio.TimerHandle | None = None
        numbers.before(self.settle)

    def put(self, call: Call) -> None:
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
        now, ended = clock.now_micros(), clock.stopwatch()
        for call in waiting:
            result, number = call.said, call.id.decode("ascii")
            if result is not None:
                call.numbers.answer(result)
                if self._recorder is not None and call.ready is not None:
                    self._recorder.put(call.kind, call.name, call.level, number, call.t, call.ready, result, call.seconds)
            call.numbers.request(call.status, call.seconds)
            at = now - round((ended - call.ended) * 1e6)
            self._log.put(Line(at, number, call.route, call.name, call.status, call.seconds, call.rows, call.failed))

    def close(self) -> None:
        """Record all that wait, and write the log."""
        self.settle()
        self._log.close()
