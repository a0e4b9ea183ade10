"""Freshness: how stale a value may be. `kernel.as_of` maps a request time and a freshness to T and
K.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, TypeGuard, TypeVar

from headwater.definitions.checks import (
    DAY,
    HOUR,
    SECOND,
    Duration,
    check,
    check_timezone,
    check_type,
    micros,
    refusal,
    text,
)
from headwater.definitions.definition import Definition
from headwater.errors import DefinitionError

_T = TypeVar("_T")


class FreshnessBase(Definition):
    """The properties of a freshness. Other code tests these, never the class.

    kind: its name as data. scheduled: whether a job computes its values cut by cut, and publishes
    them. streamed: whether a pipeline keeps them as events come. servable: whether values can be
    served at it; at others only a backtest asks. reads_events: whether any event counts. state:
    what its views keep is of this kind; state of one kind can be that of any freshness of it.
    """

    kind: ClassVar[str]
    scheduled: ClassVar[bool] = False
    streamed: ClassVar[bool] = False
    servable: ClassVar[bool] = False
    reads_events: ClassVar[bool] = True
    state: ClassVar[str]

    @property
    def stored(self) -> bool:
        """Whether an online store keeps its values."""
        return self.scheduled or self.streamed

    @property
    def computed_on_request(self) -> bool:
        """Whether values are served, and made only when they are asked for."""
        return self.servable and not self.stored

    @property
    def command(self) -> str:
        """The command that brings its values to an online store."""
        return "materialize" if self.scheduled else "ingest"

    @property
    def schedule(self) -> Batch | None:
        """The cuts of its job, where there is one."""
        return None

    def known_by(self, T: _T, K: _T) -> _T:
        """The knowledge cutoff of stored values: K of a cut; all that a stream has stored was known
        at T.
        """
        return K if self.scheduled else T

    @property
    def written(self) -> str:
        """The freshness with all of its fields, as text."""
        return self.kind

    @classmethod
    def wrote(cls, written: str) -> bool:
        """Whether a string is the `written` form of a freshness of this kind.

        >>> Streaming.wrote(streaming("2s").written), Streaming.wrote(batch("1d").written)
        (True, False)
        """
        return written.split(maxsplit=1)[0] == cls.kind

    def to_data(self) -> dict[str, object]:
        """Its kind, and its fields in microseconds; `from_data` reads it.

        >>> streaming("2s").to_data()
        {'kind': 'streaming', 'lag': 2000000}
        """
        return {"kind": self.kind}


@dataclass(frozen=True, eq=False, init=False)
class Batch(FreshnessBase, called="batch"):
    """Values of the last cut whose job has published. Fields are in microseconds.

    T is the last cut c with c + delay <= t; K is c + wait. Cuts stand every `every` from `at` on,
    by the clock of `timezone`: a local cut in a daylight-saving gap is the first instant after it,
    in a fold the first of the two.

    Args:
        every: a divisor or a multiple of a day.
        at: "HH:MM" or "HH:MM:SS", the first cut of a day; less than `every`.
        timezone: an IANA name.
        delay: from the cut until its values can be read.
        wait: how long after the cut the job still takes in late events; at most `delay`.

    Raises:
        DefinitionError: a cut that no day has, or a job that publishes before it has waited.

    >>> print(Batch("1d", at="02:30", timezone="America/New_York", delay="4h"))
    every 1d at 02:30 America/New_York, published 4h later
    """

    every: int
    at: int
    timezone: str
    delay: int
    wait: int

    kind = "batch"
    scheduled = servable = True
    state = "Batch"

    def __init__(
        self,
        every: Duration,
        *,
        at: str = "00:00",
        timezone: str = "UTC",
        delay: Duration = "0s",
        wait: Duration = "0s",
    ) -> None:
        step = micros(every, "batch(): every")
        whole = step > 0 and (step % DAY == 0 or DAY % step == 0)
        check(
            whole,
            every,
            "batch(): every",
            "a divisor of a day or a number of whole days, such as '15m', '1h', '1d' or '7d'",
        )
        start = _time_of_day(at)
        if start >= step:
            raise refusal(
                at,
                "batch(): at",
                f"a time before every={text(step)}, since it is the first cut after midnight",
            )
        check_timezone(timezone, "batch()")
        behind, waits = micros(delay, "batch(): delay"), micros(wait, "batch(): wait")
        if waits > behind:
            raise DefinitionError(
                f"batch(wait={text(waits)}) is more than delay={text(behind)}: a job cannot "
                "publish before it has waited"
            )
        self._set(every=step, at=start, timezone=timezone, delay=behind, wait=waits)

    def __str__(self) -> str:
        at = (
            f" at {self.at // HOUR:02}:{self.at // (60 * SECOND) % 60:02} {self.timezone}"
            if self.every >= DAY
            else ""
        )
        return f"every {text(self.every)}{at}, published {text(self.delay)} later"

    @property
    def worst_age(self) -> int:
        """The age of a value just before the next one is published."""
        return self.every + self.delay

    @property
    def schedule(self) -> Batch:
        """Itself."""
        return self

    @property
    def written(self) -> str:
        """The freshness with all of its fields, as text."""
        wait = f", wait {text(self.wait)}" if self.wait else ""
        start = f" from {text(self.at)} after midnight" if self.at else ""
        return (
            f"batch every {text(self.every)}{start} {self.timezone}, delay {text(self.delay)}{wait}"
        )

    def to_data(self) -> dict[str, object]:
        """Its kind and every field."""
        rule = {"every": self.every, "at": self.at, "timezone": self.timezone}
        return {"kind": self.kind, **rule, "delay": self.delay, "wait": self.wait}


@dataclass(frozen=True, eq=False, init=False)
class Streaming(FreshnessBase, called="streaming"):
    """Values of a pipeline that is `lag` behind, in microseconds: T = t, and K = t - lag.

    >>> print(Streaming("2s"))
    streaming, 2s behind
    """

    lag: int

    kind = "streaming"
    streamed = servable = True
    state = "stream"

    def __init__(self, lag: Duration) -> None:
        self._set(lag=micros(lag, "streaming(): lag"))

    def __str__(self) -> str:
        return f"streaming, {text(self.lag)} behind"

    @property
    def worst_age(self) -> int:
        """The lag."""
        return self.lag

    @property
    def written(self) -> str:
        """The freshness with all of its fields, as text."""
        return f"streaming {text(self.lag)}"

    def to_data(self) -> dict[str, object]:
        """Its kind and its lag."""
        return {"kind": self.kind, "lag": self.lag}


@dataclass(frozen=True, eq=False)
class OnRequest(FreshnessBase, called="on_request"):
    """Values computed or read at the moment of asking: T = K = t. For a window it is the ceiling of
    a backtest.
    """

    kind = "on_request"
    servable = True
    state = "stream"  # a request reads the state that a stream keeps

    def __str__(self) -> str:
        return "at request time"

    @property
    def worst_age(self) -> int:
        """Nothing."""
        return 0


@dataclass(frozen=True, eq=False, init=False)
class Measured(FreshnessBase, called="measured"):
    """Values as old as served ones were: T = t, and K = t minus an age drawn from `ages`.

    The draw depends on t, `seed` and how many ages there are alone, so it does not depend on the
    order of the rows; and views with as many ages, those of the same requests in the same order,
    are as old together as they were there. Fields are in microseconds.

    Args:
        ages: of values that were served, each t - K; None for a value that was not there, so that
            nothing counts.
        cuts: how long before its request the window of each ended, t - T, as that of a batch view
            does at its cut; None is not at all.
        seed: of the draw.

    Raises:
        DefinitionError: no age, or not as many cuts as ages.

    >>> print(Measured(["1s", "2s", None, "90s"]))
    as old as 4 measured ages, the median 2s, 25.0% of them not there
    """

    ages: tuple[int | None, ...]
    cuts: tuple[int, ...] | None
    seed: int

    kind = "measured"
    state = "Measured"

    def __init__(
        self,
        ages: Sequence[Duration | None],
        *,
        cuts: Sequence[Duration] | None = None,
        seed: int = 0,
    ) -> None:
        listed = isinstance(ages, Collection) and not isinstance(ages, str) and len(ages)
        check(
            listed,
            ages,
            "measured(): ages",
            "a list of at least one duration, such as the ages in a serving log",
        )
        ages_in_micros = tuple(None if a is None else micros(a, "a measured age") for a in ages)
        if all(a is None for a in ages_in_micros):
            raise DefinitionError(
                "every age of measured(ages=) is None, so no value was ever available; use never()"
            )
        fitting = cuts is None or (
            isinstance(cuts, Collection) and not isinstance(cuts, str) and len(cuts) == len(ages)
        )
        check(
            fitting,
            cuts,
            "measured(): cuts",
            f"a list of as many durations as there are ages, {len(ages)}, or leave it out",
        )
        ends = tuple(micros(c, "a measured cut") for c in (() if cuts is None else cuts))
        self._set(ages=ages_in_micros, cuts=ends if any(ends) else None, seed=seed)

    def __str__(self) -> str:
        ages = self.found
        missing = (
            f", {1 - len(ages) / len(self.ages):.1%} of them not there"
            if len(ages) < len(self.ages)
            else ""
        )
        return (
            f"as old as {len(self.ages)} measured ages, the median "
            f"{text(ages[len(ages) // 2])}{missing}"
        )

    @property
    def found(self) -> list[int]:
        """The ages of the values that were there, from young to old."""
        return sorted(age for age in self.ages if age is not None)

    @property
    def worst_age(self) -> int:
        """The largest age measured."""
        return self.found[-1]

    @property
    def written(self) -> str:
        """The freshness with all of its fields, as text."""
        return f"{self} ({self.fingerprint[:6]})"

    def to_data(self) -> dict[str, object]:
        """Its kind, the largest age and the middle one."""
        return {
            "kind": self.kind,
            "worst": self.found[-1],
            "median": self.found[len(self.found) // 2],
        }


@dataclass(frozen=True, eq=False)
class Never(FreshnessBase, called="never"):
    """No event counts: the request's own fields alone."""

    kind = "never"
    reads_events = False
    state = "Never"

    def __str__(self) -> str:
        return "no history: the request's own fields alone"

    @property
    def worst_age(self) -> int:
        """Nothing is read, so nothing is old."""
        return 0


Freshness = Batch | Streaming | OnRequest | Measured | Never
batch, streaming, on_request, measured, never = Batch, Streaming, OnRequest, Measured, Never
"""As users write them."""


def from_data(data: Mapping[str, Any]) -> Freshness:
    """The freshness that `to_data` described; measured ages as the largest and the middle one.

    >>> print(from_data(batch("1d", delay="4h").to_data()))
    every 1d at 00:00 UTC, published 4h later
    """
    kind = data["kind"]
    if kind == Measured.kind:
        return Measured([_duration(data["median"]), _duration(data["worst"])])
    if kind == Streaming.kind:
        return Streaming(_duration(data["lag"]))
    if kind != Batch.kind:
        return OnRequest() if kind == OnRequest.kind else Never()
    return Batch(
        _duration(data["every"]),
        at=str(timedelta(microseconds=data["at"])).zfill(8),
        timezone=data["timezone"],
        delay=_duration(data["delay"]),
        wait=_duration(data["wait"]),
    )


def _duration(microseconds: int) -> timedelta:
    return timedelta(microseconds=microseconds)


def _time_of_day(at: object) -> int:
    """`HH:MM` or `HH:MM:SS` in microseconds since midnight."""
    match = (
        re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", at)
        if isinstance(at, str)
        else None
    )
    if match is None:
        raise refusal(at, "batch(): at", "a time of day, such as '02:30'")
    return int(match[1]) * HOUR + int(match[2]) * 60 * SECOND + int(match[3] or 0) * SECOND


def is_freshness(value: object) -> TypeGuard[Freshness]:
    """Whether a value is a freshness, as `batch(...)` and its like make it."""
    return isinstance(value, FreshnessBase)


def check_freshness(value: object, subject: str) -> None:
    """Refuse anything that is not a freshness."""
    check_type(
        value,
        FreshnessBase,
        subject,
        "batch(...), streaming(lag), on_request(), measured(ages) or never()",
    )


def kind_of(freshness: Sequence[Freshness]) -> str:
    """`real-time` if any part may be less than an hour old at worst, else `batch`: the one-hour
    rule.

    >>> kind_of([batch("1h", delay="15m")]), kind_of([streaming("2s"), batch("1d")])
    ('batch', 'real-time')
    """
    live = (f for f in freshness if f.reads_events)
    return "real-time" if any(f.worst_age < HOUR for f in live) else "batch"
