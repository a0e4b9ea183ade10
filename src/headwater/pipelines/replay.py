"""Replay: history as a stream, on a clock of its own that never shows an event before it was known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock
from headwater.compute.arrays import I64
from headwater.connectors import scan
from headwater.connectors.feeds import Records
from headwater.definitions.durations import Duration, micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Streaming
from headwater.definitions.source import Source
from headwater.engines.events import arrived
from headwater.engines.reading import KNOWN, collect
from headwater.errors import UsageError
from headwater.online_stores import OnlineStore
from headwater.pipelines.accept import ROW
from headwater.pipelines.intake import Intake, Limits
from headwater.pipelines.shard import Committed

_PARTITION = "history"


@dataclass(frozen=True)
class Step:
    """A step of a replay: the clock's time in microseconds, what was committed, and the seconds that each commit took."""

    now: int
    committed: Sequence[Committed]
    seconds: Sequence[float]


@dataclass
class _Tape:
    """The rows of one source's history in the order in which they were known; known: int64 (n), rising."""

    intake: Intake
    rows: pl.DataFrame
    known: I64
    place: int = 0

    def until(self, now: int, most: int) -> list[Records]:
        """The rows known by `now` that have not been played, in pieces of at most `most`."""
        stop = int(np.searchsorted(self.known, now, side="right"))
        made = []
        while self.place < stop:
            first, last = self.place, min(self.place + most, stop)
            offset = np.arange(first, last)
            frame = self.rows.slice(first, last - first)
            made.append(
                Records([_PARTITION], np.zeros(len(offset), np.int64), offset, self.known[first:last], {_PARTITION: last}, frame=frame)
            )
            self.place = last
        return made


def replay(
    views: Sequence[FeatureView],
    store: OnlineStore,
    *,
    start: int,
    end: int,
    step: Duration = "1m",
    speed: float | None = None,
    folder: Path | None = None,
    limits: Limits | None = None,
) -> Iterator[Step]:
    """Play the history of streaming views into a store, as ingestion would have seen it.

    The views begin with what was known at `start`. Then the clock goes on in steps, and each step commits what had become known by its
    time. Between two steps, the store is as it would have been then.

    Args:
        views: streaming views; their sources need a history, and no stream.
        store: an online store that none of these views is in.
        start, end: microseconds UTC.
        step: how far the clock goes at once.
        speed: seconds of the replay in a second; None is as fast as it can.
        folder: where the archive is kept; None keeps none.
        limits: how records become commits.

    Raises:
        UsageError: a view that is not streaming, or a source without history.
        DataError: a history that cannot be read.
    """
    limits = limits or Limits()
    tapes = [_tape(source, mine, store, folder, limits, start) for source, mine in _sources(views).items()]
    began, now, every = clock.stopwatch(), start, micros(step, "step")
    while now < end:
        now = min(now + every, end)
        if speed is not None:
            time.sleep(max((now - start) / 1e6 / speed - (clock.stopwatch() - began), 0.0))
        committed, seconds = [], []
        for tape in tapes:
            records = tape.until(now, limits.batch)
            due = tape.intake.due()
            if records or (due is not None and due < now):
                before = clock.stopwatch()
                committed += tape.intake.commit([(some, {}) for some in records], now, now)
                seconds.append(clock.stopwatch() - before)
                tape.intake.roll(least=limits.roll)
        yield Step(now, committed, seconds)
    for tape in tapes:
        tape.intake.commit([], end, end)
        tape.intake.roll(least=1)


def _sources(views: Sequence[FeatureView]) -> dict[Source, tuple[FeatureView, ...]]:
    found: dict[Source, dict[str, FeatureView]] = {}
    for view in dict.fromkeys(v.root for v in views):
        if not isinstance(view.freshness, Streaming):
            raise UsageError(
                f"feature view {view.name!r} is not streaming ({view.freshness}); give it freshness=hw.streaming('2s') to replay it"
            )
        if view.source.history is None:
            raise UsageError(f"feature view {view.name!r}: source {view.source.name!r} has no history to replay; give it history=")
        found.setdefault(view.source, {})[view.tiles_fingerprint] = view
    return {source: tuple(named.values()) for source, named in found.items()}


def _tape(source: Source, views: Sequence[FeatureView], store: OnlineStore, folder: Path | None, limits: Limits, start: int) -> _Tape:
    intake = Intake(source, views, store, folder, limits, replayed_from=start)
    intake.shard(_PARTITION)
    table = collect(scan(source.table).select(list(intake.acceptance.schema)), f"source {source.name!r}")
    found = collect(arrived(_over(source, table), [], [], [ROW], known=True), f"source {source.name!r}")
    found = found.filter(pl.col(KNOWN) > start).sort(KNOWN, ROW)
    return _Tape(intake, table[found[ROW]], found[KNOWN].to_numpy())


def _over(source: Source, table: pl.DataFrame) -> Source:
    return replace(source, history=table.with_row_index(ROW))
