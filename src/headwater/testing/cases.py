"""Small random cases whose times collide at the edges: of windows, of hops, of lags and cuts, one
microsecond either side.

A case is made from any `random.Random`: a seeded one, or Hypothesis'
`strategies.randoms(use_true_random=False)`, which shrinks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl

from headwater.aggregations.reference import Row, Value
from headwater.aggregations.table import TABLE
from headwater.definitions.checks import text
from headwater.definitions.feature_view import Aggregation, FeatureView
from headwater.definitions.freshness import Freshness, batch, measured, never, on_request, streaming
from headwater.definitions.source import Source
from headwater.definitions.windows import Window

BASE = datetime(2024, 3, 10, 6, tzinfo=UTC)
"""An hour before the clocks of New York go forward."""

SCHEMA: Mapping[str, pl.DataType] = {
    "key": pl.Int64(),
    "at": pl.Datetime("us", "UTC"),
    "known": pl.Datetime("us", "UTC"),
    "id": pl.Int64(),
    "before": pl.Boolean(),
    "real": pl.Float64(),
    "whole": pl.Int64(),
    "flag": pl.Boolean(),
    "word": pl.String(),
    "moment": pl.Datetime("us", "UTC"),
}
"""The columns of a case's events; `id` is unique unless the case has copies or changes, and only
these look at `before`.
"""

_SECOND, _MINUTE, _HOUR = 1_000_000, 60_000_000, 3_600_000_000
_REALS: Sequence[Value] = (0.0, 1.0, -1.5, 0.1, 0.01, 4e9 + 0.25, -4e9, None, float("nan"))
_WHOLES: Sequence[Value] = (0, 1, -2, 7, 2**53 + 1, 2**62, -(2**62) - 5, None)
_FLAGS: Sequence[Value] = (True, False, None)
_WORDS: Sequence[Value] = ("a", "b", "", "é", "Z", None)


@dataclass(frozen=True)
class Case:
    """A view, the events of its source, and rows that ask."""

    view: FeatureView
    events: list[Row]
    rows: list[Row]

    @property
    def frame(self) -> pl.DataFrame:
        """The events as the source reads them; without the columns `known` and `before` where the
        source does not name them.
        """
        named = {"known": self.view.source.known_at_field, "before": self.view.source.changes}
        return pl.DataFrame(self.events, schema=SCHEMA).drop(
            [name for name, by in named.items() if by is None]
        )

    @property
    def asked(self) -> pl.DataFrame:
        """The rows as a frame with the columns `key` and `timestamp`."""
        return pl.DataFrame(
            self.rows, schema={"key": pl.Int64(), "timestamp": pl.Datetime("us", "UTC")}
        )

    def with_events(self, events: list[Row]) -> Case:
        """The same question over other events."""
        return replace(self, events=events)

    def readable(self) -> FeatureView:
        """The view, its source reading the events; columns that only the future knows are selected
        on purpose.
        """
        names = [name for name in self.frame.columns if name not in ("at", "known", "id", "before")]
        return replace(
            self.view, source=replace(self.view.source, history=self.frame, select=names)
        )


def aggregations() -> list[Aggregation]:
    """Every aggregation over every kind of column that it takes: those that the rows of the table
    name, and these over the events where a flag is true.
    """
    every = [each for name in sorted(TABLE) for each in TABLE[name].cases()]
    plain = [each for each in every if each.name is None and each.secondary is None]
    return [*every, *(replace(each, where="flag") for each in plain)]


def freshnesses(length: int) -> list[Freshness]:
    """One of each kind and more, whose lags and delays are near the window and its hop."""
    lags = [1, _SECOND, 10 * _SECOND, length]
    cuts = [
        batch("1h"),
        batch("1h", delay="15m", wait="15m"),
        batch("1d", at="02:30", timezone="America/New_York", delay="10m", wait="1us"),
    ]
    drawn = [
        measured(["0s", "1us", "10s", text(length)], seed=3),
        measured(["10s", None, "0s"], cuts=["20s", "1s", text(length)], seed=5),
    ]
    return [never(), on_request(), *[streaming(text(lag)) for lag in lags], *cuts, *drawn]


def case(
    random: Random,
    chosen: Sequence[Aggregation] | None = None,
    *,
    late: bool | None = None,
    changes: bool | None = None,
) -> Case:
    """A case of at most 24 events and 12 rows.

    Args:
        random: where it is drawn from.
        chosen: the aggregations; some of `aggregations()` where None.
        late: whether a column says when events were known; drawn where None.
        changes: whether events are corrected and deleted, which only late ones can be; drawn where
            None.
    """
    late = (changes or random.random() < 0.5) if late is None else late
    changes = (late and random.random() < 0.4) if changes is None else changes
    size = random.choice(_WINDOWS)
    sizes = sorted({size, random.choice(_WINDOWS)}, key=_WINDOWS.index)
    scale = size.length or _HOUR
    source = Source(
        "events",
        timestamp_field="at",
        known_at_field="known" if late else None,
        known_after="0s" if late else text(random.choice([0, 0, 1, 10 * _SECOND])),
        window_on="known_at" if not changes and random.random() < 0.2 else "timestamp",
        id_field="id" if changes or random.random() < 0.4 else None,
        id_horizon="1d" if changes else random.choice(["1us", "10s", "1h"]),
        changes="before" if changes else None,
    )
    view = FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=random.sample(aggregations(), 3) if chosen is None else list(chosen),
        windows=sizes,
        freshness=random.choice(freshnesses(scale)),
        ttl=random.choice([None, None, "1us", "10s", text(scale)]),
    )
    copies = source.id_field is not None and random.random() < 0.7
    if changes:
        events = _images(random, size)
    else:
        events = [
            _event(random, size, number // 3 if copies else number, late=late)
            for number in range(random.randint(0, 24))
        ]
    rows: list[Row] = [
        {"key": random.choice([1, 1, 2, 3, None]), "timestamp": _near(random, BASE, size)}
        for _ in range(random.randint(1, 12))
    ]
    return Case(view, events, rows)


_WINDOWS = (
    Window.in_micros(10 * _MINUTE, 10 * _SECOND),
    Window.in_micros(_HOUR, _MINUTE),
    Window.in_micros(_MINUTE, 20 * _SECOND),
    Window.in_micros(10, 5),
    Window.in_micros(_HOUR, 10 * _MINUTE, offset=10 * _MINUTE),
    Window.in_micros(None),
    Window.in_micros(None, _MINUTE, offset=_MINUTE),
)


def _event(random: Random, window: Window, number: int, *, late: bool) -> Row:
    at = _near(random, BASE, window)
    lag = random.choice([0, 0, 0, 1, _SECOND, 10 * _SECOND, _HOUR, -1]) if late else 0
    known_at = (
        None
        if late and random.random() < 0.03
        else at + timedelta(microseconds=lag + (random.choice([-1, 0, 1]) if lag > 1 else 0))
    )
    return {
        "key": random.choice([1, 1, 1, 2, None]),
        "at": at,
        "known": known_at,
        "id": number,
        "before": False,
        "real": random.choice(_REALS),
        "whole": random.choice(_WHOLES),
        "flag": random.choice(_FLAGS),
        "word": random.choice(_WORDS),
        "moment": None if random.random() < 0.3 else _near(random, at, window),
    }


def _images(random: Random, window: Window) -> list[Row]:
    """At most 24 images of a few events: stated, corrected with and without an image before,
    deleted, redelivered, out of place.
    """
    images: list[Row] = []
    count = random.randint(0, 24)
    while len(images) < count:
        number = random.randint(0, 7)
        now: Row = {**_event(random, window, number, late=True), "before": random.random() < 0.05}
        images.append(now)
        while isinstance(known_at := now["known"], datetime) and random.random() < 0.6:
            same: Row = {
                "id": number,
                "known": known_at + timedelta(microseconds=random.choice(_LATER)),
            }
            fresh = _event(random, window, number, late=True)
            unchanged = {name: now[name] for name in SCHEMA if random.random() < 0.6}
            after: Row = {**fresh, **unchanged, **same, "before": False}
            before: Row = {
                **random.choice([now, now, now, dict.fromkeys(SCHEMA), fresh]),
                **same,
                "before": True,
            }
            again: Row = {**now, **same}
            images += random.choice([[before, after], [after], [before], [before, again], [again]])
            now = now if images[-1]["before"] else images[-1]
    return [{**image, "at": None} if random.random() < 0.02 else image for image in images[:count]]


_LATER = (0, 0, 1, -1, _SECOND, 10 * _SECOND, 10 * _SECOND + 1, _HOUR, -_SECOND)


def _near(random: Random, base: datetime, window: Window) -> datetime:
    """A time near the edges of a window that ends at `base`."""
    length = window.length or _HOUR
    steps = [
        0,
        0,
        window.hop,
        length,
        length + window.hop,
        window.offset,
        window.offset + length,
        _HOUR,
        10 * _SECOND,
        _SECOND,
    ]
    return base + timedelta(
        microseconds=random.choice([-1, 1]) * random.choice(steps) + random.choice([-1, 0, 0, 1])
    )
