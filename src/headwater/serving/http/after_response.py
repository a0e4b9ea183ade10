"""What is noted of each request once it is answered: numbers, a line of the log, an entry of the served log. Done for some at a time."""

from __future__ import annotations

import asyncio
from typing import Final

from headwater import clock
from headwater.logs.serving_log_rows import Kind
from headwater.serving.http.access_log import Line, RequestLog
from headwater.serving.http.handlers import Ready, Said
from headwater.serving.metrics.request_metrics import Numbers, RouteNumbers
from headwater.serving.serving_log_writer import Recorder

_MOST: Final = 64  # requests that wait to be noted
_LATEST: Final = 0.05  # seconds that they wait at most


class Call:
    """A request while it is answered.

    id: its own, or made for it. route, name: which, empty where there is none. numbers: that count it. failed: where an unexpected error
    came from. ended: when it was answered, on the clock that never goes back. Of a hot route: what was asked for at `t`, and at what level.
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
    """Takes calls from the event loop, and notes them a little later: many in a row cost half of what each costs between others."""

    def __init__(self, numbers: Numbers, log: RequestLog, recorder: Recorder | None) -> None:
        self._log, self._recorder = log, recorder
        self._waiting: list[Call] = []
        self._timer: asyncio.TimerHandle | None = None
        numbers.before(self.settle)

    def put(self, call: Call) -> None:
        """Take one call that has ended."""
        self._waiting.append(call)
        if len(self._waiting) >= _MOST:
            self.settle()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LATEST, self.settle)

    def settle(self) -> None:
        """Note all that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        now, ended = clock.now_micros(), clock.stopwatch()
        for call in waiting:
            said, number = call.said, call.id.decode("ascii")
            if said is not None:
                call.numbers.answer(said)
                if self._recorder is not None and call.ready is not None:
                    self._recorder.put(call.kind, call.name, call.level, number, call.t, call.ready, said, call.seconds)
            call.numbers.request(call.status, call.seconds)
            at = now - round((ended - call.ended) * 1e6)
            self._log.put(Line(at, number, call.route, call.name, call.status, call.seconds, call.rows, call.failed))

    def close(self) -> None:
        """Note what waits, and write the log."""
        self.settle()
        self._log.close()
