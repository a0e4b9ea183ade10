r"""The clock of tests: the time that headwater reads, in this process and in child processes of a
test.

`at` sets it in a block, and it stands still until it is told to move:

>>> import headwater as hw, polars as pl, tempfile
>>> from headwater.testing import clock
>>> with tempfile.TemporaryDirectory() as folder, clock.at("2024-05-01T12:00Z") as now:
...     schema = {"user": str, "at": pl.Datetime("us", "UTC")}
...     source = hw.Source(
...         "visits",
...         stream=hw.appended(f"{folder}/visits.jsonl", schema=schema),
...         timestamp_field="at",
...     )
...     view = hw.FeatureView(
...         "user",
...         source=source,
...         keys=["user"],
...         features=[hw.count()],
...         windows=["1h"],
...         freshness=hw.streaming("2s"),
...     )
...     with open(f"{folder}/visits.jsonl", "w") as file:
...         _ = file.write('{"user": "a", "at": "2024-05-01T11:30:00Z"}\n')
...     store, options = (
...         f"lmdb:{folder}/online?size=100MB",
...         hw.operations.IngestOptions(allow_unapplied=True),
...     )
...     asked = pl.DataFrame({"user": ["a"], "asked": [now.time()], "left": [True]})
...     labels = hw.Labels(
...         "left", table=asked, timestamp_field="asked", label="left", known_after="1d"
...     )
...     model = hw.Model(
...         "churn", task="binary", features=hw.FeatureService("churn_v1", [view]), labels=labels
...     )
...     hw.ingest(hw.Project("shop", [model]), store, data_dir=folder, once=True, options=options)
...     before = hw.get_online_features(view, [{"user": "a"}], store=store, details=True).row(0)
...     now.advance("40m")
...     after = hw.get_online_features(view, [{"user": "a"}], store=store, details=True).row(0)
>>> before[:3], after[:3]  # the count, its status and its age
((1, 'present', 0.0), (0, 'missing', 2400.0))

With `file=`, the time also stands in that file, and `python -m headwater.testing.clock FILE
ARGUMENTS` runs `headwater ARGUMENTS` by it: the process sees each move directly. With a time in
place of FILE, its clock starts there and goes on as real time does. Processes that the command
starts itself (`serve --workers 2`) have the machine's clock.

Timeouts, leases, back-offs and pauses end when the clock has moved so far, or when so much time has
really passed. With `skips=True` nobody waits: each wait moves the clock on by itself.

>>> from headwater.clock import wait
>>> with clock.at("2024-05-01T12:00Z", skips=True) as now:
...     _ = wait(90)
...     print(now)
StandingClock('2024-05-01T12:01:30+00:00')
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from headwater import clock
from headwater.definitions.checks import Duration, micros, parse_timestamp


class StandingClock:
    """A clock that stands still until it is told to move.

    >>> stands = StandingClock("2024-05-01T12:00Z")
    >>> stands.advance("90m")
    >>> stands.time().isoformat()
    '2024-05-01T13:30:00+00:00'
    """

    def __init__(
        self, at: datetime | str, file: str | Path | None = None, *, skips: bool = False
    ) -> None:
        self._wall, self._steady, self._skips = parse_timestamp(at, "at"), 0, skips
        self._file = None if file is None else Path(file)
        self._write()

    def __repr__(self) -> str:
        return f"StandingClock({self.time().isoformat()!r})"

    def wall(self) -> int:
        """The time that it shows, in microseconds since 1970 UTC."""
        return self._wall

    def steady(self) -> int:
        """The microseconds that have passed on it."""
        return self._steady

    def moved(self) -> float:
        """The seconds that have passed on it."""
        return self._steady / 1e6

    def waits(self, seconds: float) -> None:
        """Somebody waits so many seconds; with `skips`, they have passed."""
        if self._skips and seconds > 0:
            self.advance(timedelta(seconds=seconds))

    def time(self) -> datetime:
        """The time that it shows."""
        return clock.timestamp(self._wall)

    def advance(self, duration: Duration) -> None:
        """Let time pass."""
        passed = micros(duration, "duration")
        self._wall, self._steady = self._wall + passed, self._steady + passed
        self._write()

    def set(self, at: datetime | str) -> None:
        """Set the wall clock, as an operator or NTP does: no time passes. After more than
        `max_clock_jump`, headwater refuses commits.
        """
        self._wall = parse_timestamp(at, "at")
        self._write()

    def _write(self) -> None:
        if self._file is not None:
            new = self._file.with_name(f"{self._file.name}.new")
            new.write_text(f"{self._wall} {self._steady}", encoding="ascii")
            new.replace(self._file)


@contextmanager
def at(
    time: datetime | str, *, file: str | Path | None = None, skips: bool = False
) -> Iterator[StandingClock]:
    """In the block, headwater reads a clock that stands at this time until it is moved, in all
    threads of this process.

    Args:
        time: tz-aware, or ISO 8601 with an offset.
        file: where the time is kept too, for processes that are started with `python -m
            headwater.testing.clock FILE ...`.
        skips: nobody waits; each wait moves the clock on.

    >>> import headwater as hw
    >>> from headwater.testing import clock
    >>> with clock.at("2024-05-01T12:00Z") as now:
    ...     now.advance("1h")
    ...     print(now)
    StandingClock('2024-05-01T13:00:00+00:00')
    """
    standing = StandingClock(time, file, skips=skips)
    before = clock.read_instead(standing)
    try:
        yield standing
    finally:
        clock.read_instead(before)
