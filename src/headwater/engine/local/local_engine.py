"""The engine of this machine: polars reads, numba computes, and data that exceed the memory are
split on disk by key.

The partial states of a view between two heads: in one piece, or of events split by key into
files that fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, cast

import polars as pl

from headwater.definitions.source import Source
from headwater.engine.checkpoint import read_json, renamed, workplace, write_json
from headwater.engine.local import spill
from headwater.engine.local.spill import bucket_files, hash_of, split
from headwater.engine.query import (
    EngineRun,
    EventQuery,
    FeatureValues,
    Query,
    RequestSet,
    StatePart,
    StateParts,
    StateQuery,
    States,
)
from headwater.events.read_events import (
    IDENT,
    KNOWN,
    REMOVED_AT,
    TIME,
    Notes,
    Reach,
    Scan,
    collect,
    no_events,
    read_events,
    scan_events,
    timeless,
)
from headwater.kernel.arrays import LASTS


class LocalEngine:
    """As `Engine`, on this machine."""

    def features(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun
    ) -> list[list[FeatureValues]]:
        """As `Engine`; within `run.memory`."""
        return spill.compute(query, requests, run)

    def events(self, query: EventQuery, run: EngineRun) -> pl.DataFrame:
        """As `Engine`."""
        source, keys, columns = query.source, query.keys, query.columns
        if query.newest:
            return _newest(query)
        if query.reach is None:
            schema = (
                query.request_keys[0].schema
                if query.request_keys
                else pl.Schema(dict.fromkeys(keys, pl.Null()))
            )
            return no_events(source, keys, columns, schema)
        return read_events(source, keys, columns, query.reach, query.request_keys, run.notes)

    def states(
        self, query: StateQuery[States], run: EngineRun
    ) -> AbstractContextManager[StateParts[States]]:
        """See `Engine`; within `run.memory`. Where that is given, a stopped run resumes from the
        events that are split already.
        """
        return states_between(query, run)


def _newest(query: EventQuery) -> pl.DataFrame:
    """Of each key when its last event was, in one pass that holds the keys alone."""
    scan = scan_events(
        query.source, query.keys, [], query.reach or Reach(None, 0, 0), query.request_keys
    )
    frame = (
        scan.frame.head(0)
        if query.reach is None
        else counted_now(scan.frame, query.source, query.keys, query.reach)
    )
    return collect(frame.group_by(query.keys).agg(pl.col(TIME).max()), scan.subject, streaming=True)


def counted_now(
    events: pl.LazyFrame, source: Source, keys: Sequence[str], reach: Reach
) -> pl.LazyFrame:
    """The events of a scan that count at the end of a reach and have keys."""
    delay = source.delay if source.window_on == "timestamp" else 0
    known_at = pl.col(KNOWN) if KNOWN in events.collect_schema() else pl.col(TIME) + delay
    return events.filter(pl.col(TIME) < reach.last, known_at <= reach.known).drop_nulls(list(keys))


EVENT_BYTES = 400  # bytes an event takes at most while its states are made

_LEFT_OUT = "left_out.json"


@contextmanager
def states_between(query: StateQuery[States], run: EngineRun) -> Iterator[StateParts[States]]:
    """The states of a query; events that are split on disk are there until the context ends without
    an error.
    """
    if run.memory is None:
        yield _StateRun(query, run).parts(None)
        return
    base = 0 if query.before is None else query.before.T
    with workplace(query.name, f"{query.head.T}-{query.head.K}-{base}-{run.memory}") as folder:
        yield _StateRun(query, run).parts(folder)


@dataclass(frozen=True)
class _StateRun(Generic[States]):
    query: StateQuery[States]
    run: EngineRun

    def parts(self, folder: Path | None) -> StateParts[States]:
        """The events in the states, in parts by key that fit into memory."""
        query, memory = self.query, self.run.memory
        scan = scan_events(query.source, query.keys, query.columns, reach_between(query), [])
        count = (
            0
            if memory is None
            else collect(scan.near.select(pl.len()), scan.subject, streaming=True).item()
        )
        buckets = 1 if memory is None else max(1, -(-count * EVENT_BYTES // memory))
        if folder is None or buckets == 1:
            rows = scan.counting(collect(scan.frame, scan.subject), self.run.notes)
            return StateParts("whole", [partial(self._state_part, fresh(query, rows.lazy()))])
        events_folder = folder / "events"
        if not events_folder.exists():
            with renamed(events_folder) as draft:
                self._deal(scan, buckets, draft)
                write_json(draft / _LEFT_OUT, dict(self.run.notes.left_out))
        notes = self.run.notes
        notes.left_out.update(
            cast("dict[str, int]", read_json(events_folder / _LEFT_OUT) or {})
            if not notes.left_out
            else {}
        )
        files = [
            [
                file
                for part_folder in sorted(events_folder.glob("part*"))
                for file in bucket_files([part_folder], bucket)
            ]
            for bucket in range(buckets)
        ]
        frames = [pl.scan_parquet(paths, hive_partitioning=False) for paths in files if paths]
        parts: list[Callable[[], StatePart[States]]] = [
            partial(self._state_part, frame) for frame in frames
        ]
        # a hash is the same in one version of polars
        return StateParts(f"{buckets} {len(parts)} {pl.__version__}", parts)

    def _state_part(self, rows: pl.LazyFrame) -> StatePart[States]:
        events = self.query.without_erased(collect(rows, f"source {self.query.source.name!r}"))
        return StatePart(events.height, self.query.make(events) if events.height else ())

    def _deal(self, scan: Scan, buckets: int, draft: Path) -> None:
        """Write the events that are in the states into folders, by a hash of their keys."""
        schema = scan.frame.collect_schema()
        bucket = hash_of({key: schema[key] for key in self.query.keys}) % buckets
        if scan.source.id_field is None:
            self._count_uncertain(scan)
            split(
                fresh(self.query, scan.frame).filter(pl.col(TIME).is_not_null()),
                bucket,
                draft / "part0",
                scan.subject,
            )
            return
        split(scan.frame, pl.col(IDENT).hash() % buckets, draft / "ids", scan.subject)
        for bucket_of_ids in range(buckets):
            files = bucket_files([draft / "ids"], bucket_of_ids)
            if files:
                notes = Notes()
                rows = scan.counting(pl.read_parquet(files, hive_partitioning=False), notes)
                self.run.notes.left_out.update(notes.left_out)
                split(
                    fresh(self.query, rows.lazy()),
                    bucket,
                    draft / f"part{bucket_of_ids}",
                    scan.subject,
                )
            for file in files:
                file.unlink()

    def _count_uncertain(self, scan: Scan) -> None:
        """Count the rows without a time, as `Scan.counting` does for rows in memory."""
        reasons = {
            name: reason
            for name, reason in timeless(scan.source).items()
            if name in scan.frame.collect_schema()
        }
        names = list(reasons)
        first = [
            pl.all_horizontal(
                pl.col(name).is_null(), *(pl.col(n).is_not_null() for n in names[:at])
            )
            for at, name in enumerate(names)
        ]
        counts = [rows.sum().alias(name) for name, rows in zip(names, first, strict=True)]
        for reason, rows in zip(
            reasons.values(),
            collect(scan.frame.select(counts), scan.subject, streaming=True).row(0),
            strict=True,
        ):
            if rows:
                self.run.notes.leave_out(reason, rows)


def reach_between(query: StateQuery[States]) -> Reach:
    """Which events can be in the states of a query."""
    source, before, first = query.source, query.before, query.first
    if before is not None and source.known_at_field is None and source.id_field is None:
        since = min(before.T, before.K - source.delay + 1)
        first = since if first is None else max(since, first)
    return Reach(first, query.head.T, query.head.K)


def fresh(query: StateQuery[States], rows: pl.LazyFrame) -> pl.LazyFrame:
    """The events that count at the head and did not count at the head before."""
    source, head, before, schema = query.source, query.head, query.before, rows.collect_schema()
    known_at = (
        pl.col(KNOWN)
        if KNOWN in schema
        else pl.col(TIME) + (source.delay if source.window_on == "timestamp" else 0)
    )
    rows = rows.filter(known_at <= head.K)
    if REMOVED_AT in schema:
        rows = rows.filter(pl.col(REMOVED_AT) > head.K, pl.col(REMOVED_AT) <= LASTS)
    return (
        rows if before is None else rows.filter((pl.col(TIME) >= before.T) | (known_at > before.K))
    )
