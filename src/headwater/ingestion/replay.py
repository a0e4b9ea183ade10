"""Replay: history as a stream, on a clock of its own that never shows an event before it was
known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock
from headwater.connectors import scan
from headwater.definitions.checks import Duration, micros, parse_timestamp
from headwater.definitions.definition import Readable
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import checked_call
from headwater.definitions.source import Source
from headwater.errors import UsageError
from headwater.events.read_events import KNOWN, ROW, TIME, arrived, collect
from headwater.ingestion.committed import Committed
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import RecordBatch, between
from headwater.kernel.arrays import I64
from headwater.stores import OnlineStore, opened

_PARTITION = "history"


@dataclass(frozen=True)
class ReplayStep(Readable):
    """A step of a replay: the clock's time in microseconds, the commits, and the seconds that each
    took.
    """

    now: int
    committed: Sequence[Committed]
    seconds: Sequence[float]

    @property
    def timestamp(self) -> datetime:
        """The clock's time."""
        return clock.timestamp(self.now)


@dataclass
class _Tape:
    """The rows of one source's history in the order in which they were known; known: int64 (n),
    rising.
    """

    ingestor: SourceIngestor
    rows: pl.DataFrame
    known: I64
    next_row: int = 0

    def until(self, now: int, most: int) -> list[RecordBatch]:
        """The rows known by `now` that have not been played, in pieces of at most `most`."""
        stop = int(np.searchsorted(self.known, now, side="right"))
        batches = []
        while self.next_row < stop:
            first, last = self.next_row, min(self.next_row + most, stop)
            offset = np.arange(first, last)
            frame = self.rows.slice(first, last - first)
            batches.append(
                RecordBatch(
                    [_PARTITION],
                    np.zeros(len(offset), np.int64),
                    offset,
                    self.known[first:last],
                    {_PARTITION: between(first, last)},
                    frame=frame,
                )
            )
            self.next_row = last
        return batches


@checked_call
def replay(
    views: Sequence[FeatureView],
    store: OnlineStore | str | None = None,
    *,
    start: datetime | str,
    end: datetime | str,
    step: Duration | Sequence[datetime] = "1m",
    speed: float | None = None,
    data_dir: str | Path | None = None,
    limits: IngestLimits | None = None,
) -> Iterator[ReplayStep]:
    """Play the history of streaming views into a store, as ingestion would have seen it.

    The views begin with what was known at `start`. Then the clock goes on in steps, and each step
    commits what had become known by its time. Between two steps, the store is as it would have been
    then. Copies are told apart by the steps that bring them, so `id_horizon` should be much longer
    than a step.

    Args:
        views: streaming views; their sources need a history, and no stream.
        store: an online store that none of these views is in, or its URL; None is that of the
            settings (HEADWATER_STORE).
        start, end: tz-aware, or ISO 8601 with an offset.
        step: how far the clock advances per step, or the timestamps at which it stops, ascending.
        speed: seconds of the replay in a second; None is as fast as it can.
        data_dir: where the archive is kept; None keeps none.
        limits: how records become commits.

    Raises:
        UsageError: a view that is not streaming or is in the store already, a source without
            history, or no time between start and end.
        DataError: a history that cannot be read.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visits
    >>> view = visits(hw.streaming("2s"))
    >>> with temporary_store() as store:
    ...     for now in hw.operations.replay(
    ...         [view], store, start="2024-05-01T10:00Z", end="2024-05-01T12:00Z", step="1h"
    ...     ):
    ...         print(
    ...             now.timestamp,
    ...             hw.get_online_features(view, [{"user": 1}], store=store, at=now.timestamp)[
    ...                 "user__count_1d"
    ...             ][0],
    ...         )
    2024-05-01 11:00:00+00:00 5
    2024-05-01 12:00:00+00:00 6
    """
    first, last = parse_timestamp(start, "start"), parse_timestamp(end, "end")
    with opened(store) as opened_store:
        yield from replay_views(
            views,
            opened_store,
            start=first,
            end=last,
            step=step,
            speed=speed,
            folder=None if data_dir is None else Path(data_dir),
            limits=limits,
        )


def span(text: str, subject: str) -> tuple[datetime, datetime]:
    """The two timestamps of `START..END`.

    Raises:
        UsageError: the string has another form.

    >>> [str(at) for at in span("2024-05-01T10:00Z..2024-05-01T12:00Z", "--replay")]
    ['2024-05-01 10:00:00+00:00', '2024-05-01 12:00:00+00:00']
    """
    start, dots, end = text.partition("..")
    if not dots:
        raise UsageError(
            f"{subject} is {text!r}; write two timestamps with two dots between, such as "
            "2024-05-01T10:00Z..2024-05-01T12:00Z"
        )
    first, last = (clock.timestamp(parse_timestamp(at, subject)) for at in (start, end))
    return first, last


def replay_views(
    views: Sequence[FeatureView],
    store: OnlineStore,
    *,
    start: int,
    end: int,
    step: Duration | Sequence[datetime] = "1m",
    speed: float | None = None,
    folder: Path | None = None,
    limits: IngestLimits | None = None,
) -> Iterator[ReplayStep]:
    """As `replay`; start and end are microseconds UTC."""
    stops = _stops(start, end, step)
    limits = limits or IngestLimits()
    tapes = [
        _tape(source, views_of_source, store, folder, limits, start)
        for source, views_of_source in _sources(views).items()
    ]
    began = clock.stopwatch()
    for now in stops:
        if speed is not None:
            clock.wait(max((now - start) / 1e6 / speed - (clock.stopwatch() - began), 0.0))
        committed, seconds = [], []
        for tape in tapes:
            records, before = tape.until(now, limits.batch), clock.stopwatch()
            committed += tape.ingestor.commit([(batch, {}) for batch in records], now, now)
            if records:
                seconds.append(clock.stopwatch() - before)
            tape.ingestor.roll(least=limits.roll)
        yield ReplayStep(now, committed, seconds)
    for tape in tapes:
        tape.ingestor.commit([], end, end)
        tape.ingestor.roll(least=1)


def _stops(start: int, end: int, step: Duration | Sequence[datetime]) -> Sequence[int]:
    """Where the clock stops, the last time at the end.

    >>> _stops(0, 5_000_000, "2s")
    [2000000, 4000000, 5000000]
    """
    every = micros(step, "step") if isinstance(step, str | timedelta) else None
    stops = list(range(start + every, end, every)) if every else []
    if not isinstance(step, str | timedelta):
        stops = [clock.micros(timestamp) for timestamp in step]
    if every == 0 or any(a >= b for a, b in itertools.pairwise([start, *stops, end])):
        steps = (
            f"in steps of {step}"
            if every is not None
            else f"with {len(stops)} stops, which must rise between them,"
        )
        raise UsageError(
            f"a replay from {clock.timestamp(start)} to {clock.timestamp(end)} {steps} has no step"
        )
    return [*stops, end]


def _sources(views: Sequence[FeatureView]) -> dict[Source, tuple[FeatureView, ...]]:
    by_source: dict[Source, dict[str, FeatureView]] = {}
    for view in dict.fromkeys(v.root for v in views):
        if not view.freshness.streamed:
            raise UsageError(
                f"feature view {view.name!r} is not streaming ({view.freshness}); give it "
                "freshness=hw.streaming('2s') to replay it"
            )
        if view.source.history is None:
            raise UsageError(
                f"feature view {view.name!r}: source {view.source.name!r} has no history to "
                "replay; give it history="
            )
        by_source.setdefault(view.source, {})[view.tiles_fingerprint] = view
    return {source: tuple(named.values()) for source, named in by_source.items()}


def _tape(
    source: Source,
    views: Sequence[FeatureView],
    store: OnlineStore,
    folder: Path | None,
    limits: IngestLimits,
    start: int,
) -> _Tape:
    ingestor = SourceIngestor(source, views, store, folder, limits, replayed_from=start)
    writer = ingestor.writer(_PARTITION)
    if writer.progress.at > start or writer.positions:
        raise UsageError(
            f"the stream of source {source.name!r} is in the online store already; replay into a "
            "new one"
        )
    table = collect(
        scan(source.table).select(list(ingestor.acceptance.schema)), f"source {source.name!r}"
    )
    events = collect(
        arrived(replace(_over(source, table), filter=None), [], [], [ROW], known=True),
        f"source {source.name!r}",
    )
    late = events.filter(
        (pl.col(KNOWN) > start) | (pl.col(KNOWN).is_not_null() & (pl.col(TIME) >= start))
    ).sort(KNOWN, ROW)
    return _Tape(ingestor, table[late[ROW]], np.maximum(late[KNOWN].to_numpy(), start))


def _over(source: Source, table: pl.DataFrame) -> Source:
    return replace(source, history=table.with_row_index(ROW))
