"""History larger than memory: split by key into buckets on disk, one bucket in memory at a time.

A bucket is what `local.answer` takes: the events of some keys, all of those that any request can
reach. So every value has the same bits as in one piece. Finished steps are in a `workplace`, so a
stopped run continues where it was.

A bucket with too many events for memory: its requests in slices of time, each with the events
that it reaches.

A value depends on the events that count and on nothing else, so a slice that holds all of those
gives the same bits. Not so where a column says when events were known: late events are added up in
an order that all events of the key decide, so those stay together; and where a window has no
beginning, every slice would reach all that came before.

How much memory work will take, and how it is cut to fit.

Splitting the rows of a scan by a hash into files, in one pass that holds little of them in
memory.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import os
import threading
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from headwater import disk
from headwater.connectors import state
from headwater.definitions.checks import size_text
from headwater.definitions.definition import fingerprint_of
from headwater.engine.checkpoint import read_json, renamed, workplace, write_json
from headwater.engine.local import compute as local
from headwater.engine.query import EngineRun, FeatureValues, Query, RequestSet, reach_of
from headwater.errors import DataError, HeadwaterWarning, read_error
from headwater.events.keys import compared_as
from headwater.events.read_events import (
    IDENT,
    KNOWN,
    TIME,
    Notes,
    Reach,
    Scan,
    collect,
    contiguous,
    no_events,
    scan_events,
    uncertain,
)
from headwater.kernel.arrays import I64, NOTHING

# rows at the beginning that tell how long strings are, and whether most keys are asked for
_SAMPLE = 10_000

_LEAST = 300_000_000  # bytes that a split of any size takes: rows on their way from files to files

_MOST = 0.7  # of keys asked for: looking each up costs more than it saves


def compute(
    query: Query, requests: Sequence[RequestSet], run: EngineRun
) -> list[list[FeatureValues]]:
    """`local.compute` within `run.memory` bytes: in one piece where that fits, else in buckets of
    keys.

    The requests and their answers are in memory with the events; where they alone need more, a
    warning says so.

    Raises:
        DataError: the data do not fit the definitions, or changed while they were read.
        UsageError: the work folder cannot be written, or another process is at the same work.
    """
    reach, memory = reach_of(requests, query.windows), run.memory
    if memory is None or reach is None or query.events is not None:
        return local.compute(query, requests, run)
    before = state(query.source.table) or [
        uuid.uuid4().hex
    ]  # of a URL nothing says that it has not changed, so no run goes on with another's
    keys = [r.keys for r in requests]
    scan = scan_events(query.source, query.keys, query.read_columns, reach, keys)
    job = _planned(query, requests, scan, run, memory)
    if job.plan.buckets == 1:
        return local.compute(query, requests, run)
    nothing = no_events(query.source, query.keys, query.columns, requests[0].keys.schema)
    # raise the errors of the query now
    local.answer(query, nothing, [r.take(NOTHING) for r in requests], EngineRun())
    with workplace(
        _query_print(query, requests), fingerprint_of([before, memory, _versions()])
    ) as folder:
        return job.split(folder, before).answers()


def answer_files(
    query: Query, files: list[Path], requests: Sequence[RequestSet], run: EngineRun, folder: Path
) -> list[list[FeatureValues]]:
    """As `compute`, for events of `Engine.events` in parquet files; data that exceed the memory are
    split in `folder`.

    Raises:
        DataError: the events do not fit the definitions.
    """
    # which of them count is decided
    source, frame = replace(query.source, id_field=None, changes=None), pl.scan_parquet(files)
    scan = Scan(source, frame, pl.lit(True), frame.select(TIME), f"source {source.name!r}")  # noqa: FBT003 (a literal)
    if run.memory is not None:
        job = _planned(query, requests, scan, run, run.memory)
        if job.plan.buckets > 1:
            return job.split(folder, None).answers()
    events = query.without_erased(contiguous(collect(frame, scan.subject)))
    return local.answer(query, events, requests, run)


def _planned(
    query: Query, requests: Sequence[RequestSet], scan: Scan, run: EngineRun, memory: int
) -> _SpillJob:
    """The work of a scan in the fewest buckets that fit into memory; a warning where none do."""
    events = int(collect(scan.near.select(pl.len()), scan.subject, streaming=True).item())
    sample = collect(scan.frame.head(_SAMPLE), scan.subject, streaming=True)
    free = memory - resident() - _answer_bytes(query, requests)
    plan = planned(events, bytes_an_event(sample, query.columns), max(free, memory // 10))
    if free < (_LEAST if plan.buckets > 1 else 0):
        warnings.warn(
            f"memory={size_text(memory)} may not be held: this process, the rows asked for and "
            f"their answers take {size_text(memory - free)}, and splitting a history some "
            f"{size_text(_LEAST)} more. Request fewer rows in a call, or give more memory",
            HeadwaterWarning,
            stacklevel=3,
        )
    return _SpillJob(query, requests, scan, sample, events, plan, run)


def _answer_bytes(query: Query, requests: Sequence[RequestSet]) -> int:
    """The bytes that answers and the orders of requests take, without the events.

    Every answer once, and those of one set of requests twice, as they are put into row order.
    """
    rows = sum(len(r.t) * len(r.as_of) for r in requests)
    return 9 * len(query.features) * (rows + max(len(r.t) for r in requests)) + 40 * rows


@dataclass(frozen=True)
class _WorkUnit:
    """The requests of some keys, or of one time slice: the rows of each request set, and their
    reach.
    """

    name: str
    bucket: int
    rows: tuple[I64, ...]
    reach: Reach | None = None


@dataclass(frozen=True)
class _SpillJob:
    query: Query
    requests: Sequence[RequestSet]
    scan: Scan
    sample: pl.DataFrame
    events: int
    plan: BucketPlan
    run: EngineRun
    folder: Path = Path()

    def split(self, folder: Path, before: object) -> _SpillJob:
        """Split the events into buckets in a folder, unless that is done; then follow the plan of
        that split. Note the rows left out.

        before: the state of the source's table when the work began; None: it cannot change.
        """
        done = read_json(folder / "split.json")
        if done is None:
            with renamed(folder / "split") as draft:
                left_out = self._write(draft, _up_to(self.events, self.run.reading))
                if before is not None and state(self.query.source.table) not in (None, before):
                    raise DataError(
                        f"{self.scan.subject}: its files changed while they were read; run again"
                    )
            done = {
                "left_out": left_out,
                "buckets": self.plan.buckets,
                "capacity": self.plan.capacity,
            }
            write_json(folder / "split.json", done)
        for reason, rows in cast("dict[str, int]", done["left_out"]).items():
            self.run.notes.leave_out(reason, rows)
        return replace(
            self,
            plan=BucketPlan(cast("int", done["buckets"]), cast("int", done["capacity"])),
            folder=folder,
        )

    def answers(self) -> list[list[FeatureValues]]:
        """The features of every request, part by part; parts that are done are not done again."""
        done: list[_WorkUnit] = []
        for unit in self._parts():
            folder = self.folder / "answers" / unit.name
            if not folder.exists():
                self._answer(unit, folder)
            elif self.run.on_progress is not None:
                self.run.on_progress(
                    sum(
                        len(rows) * len(r.as_of)
                        for rows, r in zip(unit.rows, self.requests, strict=True)
                    )
                )
            done.append(unit)
        return [
            [self._in_row_order(done, number, time) for time in range(len(r.as_of))]
            for number, r in enumerate(self.requests)
        ]

    def _write(self, draft: Path, passed: Callable[[int], None] | None) -> Counter[str]:
        """Into a folder a bucket; one more holds the rows that are left out."""
        key, within = self._hash(), self.plan.buckets
        request_hashes = pl.concat(
            [r.keys.select(key.alias("hash")) for r in self.requests]
        ).unique()["hash"]
        needed = uncertain(self.scan.source) | key.is_in(request_hashes.implode())
        if self.sample.filter(needed).height > _MOST * self.sample.height:
            needed = pl.lit(True)  # noqa: FBT003 (a literal)
        bucket = pl.when(uncertain(self.scan.source)).then(within).otherwise(key % within)
        left_out = Notes()
        if self.scan.source.id_field is None:
            split(self.scan.frame.filter(needed), bucket, draft / "0", self.scan.subject, passed)
            rows = _read(
                bucket_files([draft / "0"], within),
                [TIME, *([KNOWN] if self.scan.source.known_at_field else [])],
            )
            if rows is not None:
                self.scan.counting(rows, left_out)
            return left_out.left_out
        split(
            self.scan.frame, pl.col(IDENT).hash() % within, draft / "ids", self.scan.subject, passed
        )
        total: Counter[str] = Counter()
        for bucket_of_ids in range(within):
            files = bucket_files([draft / "ids"], bucket_of_ids)
            rows = _read(files)
            if rows is not None:
                bucket_notes = Notes()
                split(
                    self.scan.counting(rows, bucket_notes).lazy().filter(needed),
                    bucket,
                    draft / str(bucket_of_ids),
                    self.scan.subject,
                )
                total += bucket_notes.left_out
            for file in files:
                file.unlink()
        return total

    def _hash(self) -> pl.Expr:
        request_keys = [r.keys for r in self.requests]
        return hash_of(
            compared_as(
                self.scan.frame.collect_schema(), self.query.keys, request_keys, self.scan.subject
            )
            if self.query.keys
            else {}
        )

    def _parts(self) -> Iterator[_WorkUnit]:
        """The buckets with requests. A bucket with too many events for memory is split into slices
        of time, where windows are bounded.
        """
        bucket = self._hash() % self.plan.buckets
        dealt = []
        for r in self.requests:
            bucket_of_row = r.keys.with_columns(bucket.alias(BUCKET))[BUCKET].to_numpy()
            order = np.argsort(bucket_of_row, kind="stable")
            dealt.append(
                np.split(
                    order, np.searchsorted(bucket_of_row[order], np.arange(1, self.plan.buckets))
                )
            )
        for number, rows in enumerate(zip(*dealt, strict=True)):
            if not any(map(len, rows)):
                continue
            bucket_requests = [
                r.take(positions) for r, positions in zip(self.requests, rows, strict=True)
            ]
            whole = _WorkUnit(str(number), number, rows)
            files = self._files(number)
            slices = sliced(self.query, bucket_requests, files, self.plan.capacity)
            if len(slices) < 2:
                yield whole
                continue
            for i, time_slice in enumerate(slices):
                chosen = tuple(
                    positions[picked]
                    for positions, picked in zip(rows, time_slice.rows, strict=True)
                )
                yield _WorkUnit(f"{number}.{i}", number, chosen, time_slice.reach)

    def _files(self, bucket: int) -> list[Path]:
        places = sorted(
            (p for p in (self.folder / "split").iterdir() if p.name != "ids"),
            key=lambda p: int(p.name),
        )
        return bucket_files(places, bucket)

    def _events(self, unit: _WorkUnit) -> pl.DataFrame:
        events = _read(self._files(unit.bucket), None, unit.reach)
        if events is None:
            return self.query.without_erased(self.scan.frame.collect_schema().to_frame())
        events = self.query.without_erased(events)
        self.run.notes.events[self.query.source.name] += events.height
        return events

    def _answer(self, unit: _WorkUnit, folder: Path) -> None:
        unit_requests = [r.take(rows) for r, rows in zip(self.requests, unit.rows, strict=True)]
        answers = local.answer(self.query, self._events(unit), unit_requests, self.run)
        disk.make_folder(folder.parent)
        with renamed(folder) as draft:
            for number, by_time in enumerate(answers):
                for time, values in enumerate(by_time):
                    _write_values(values, draft / f"{number}.{time}")

    def _in_row_order(self, units: Sequence[_WorkUnit], number: int, time: int) -> FeatureValues:
        rows = np.concatenate([unit.rows[number] for unit in units])
        back = np.empty_like(rows)
        back[rows] = np.arange(len(rows))
        parts = [
            _read_values(self.folder / "answers" / unit.name / f"{number}.{time}") for unit in units
        ]
        known_times = [part.known_at for part in parts if part.known_at is not None]
        return FeatureValues(
            _gathered([part.values for part in parts], back),
            _gathered([part.statuses for part in parts], back),
            np.concatenate(known_times)[back] if known_times else None,
        )


def _write_values(values: FeatureValues, folder: Path) -> None:
    """A file for each field."""
    disk.make_folder(folder)
    known_frame = (
        pl.DataFrame() if values.known_at is None else pl.DataFrame({KNOWN: values.known_at})
    )
    for name, frame in (
        ("values", values.values),
        ("statuses", values.statuses),
        ("known_at", known_frame),
    ):
        frame.write_ipc(disk.create(folder / f"{name}.arrow"))


def _read_values(folder: Path) -> FeatureValues:
    """Read the values that `_write_values` wrote."""
    values, statuses, known_frame = (
        pl.read_ipc(folder / f"{name}.arrow") for name in ("values", "statuses", "known_at")
    )
    return FeatureValues(
        values, statuses, known_frame[KNOWN].to_numpy() if known_frame.width else None
    )


def _gathered(parts: Sequence[pl.DataFrame], rows: I64) -> pl.DataFrame:
    """The rows at these positions of frames one after the other, column by column."""
    return pl.DataFrame([series.gather(rows) for series in pl.concat(parts)])


def _read(
    files: list[Path], columns: Sequence[str] | None = None, reach: Reach | None = None
) -> pl.DataFrame | None:
    """Rows of a bucket; None where it has none."""
    if not files:
        return None
    rows = pl.scan_parquet(files)
    if reach is not None:
        rows = rows.filter((pl.col(TIME) >= reach.first) & (pl.col(TIME) < reach.last))
    events = collect(rows if columns is None else rows.select(columns), "the work folder")
    return contiguous(events)


def _up_to(rows: int, reading: Callable[[int, int], None] | None) -> Callable[[int], None] | None:
    """A function that is told of rows as they pass, and tells how many have passed of how many."""
    if reading is None:
        return None
    seen = [0]

    def passed(more: int) -> None:
        seen[0] += more
        reading(min(seen[0], rows), rows)

    return passed


def _query_print(query: Query, requests: Sequence[RequestSet]) -> str:
    """A fingerprint of the definitions and every request."""
    digest = hashlib.sha256()
    for r in requests:
        digest.update(r.keys.hash_rows(seed=0).to_numpy().tobytes())
        for times in (r.t, *(array for a in r.as_of for array in (a.T, a.K))):
            digest.update(times.tobytes())
    shapes = [[repr(r.keys.schema), len(r.t), len(r.as_of)] for r in requests]
    definition = [
        query.source,
        query.keys,
        query.features,
        query.expires_after,
        query.also,
        query.retained,
        query.known,
        None if query.erased is None else query.erased.digest,
    ]
    return fingerprint_of([*definition, shapes, digest.hexdigest()])


def _versions() -> list[str]:
    return [importlib.metadata.version("headwater"), pl.__version__]


_CUTS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)  # how many slices are tried

_SPANS = 4096  # in which events are counted


@dataclass(frozen=True)
class TimeSlice:
    """The requests of each set in a time slice, and the events that they reach."""

    rows: tuple[I64, ...]
    reach: Reach | None


def sliced(
    query: Query, requests: Sequence[RequestSet], files: list[Path], capacity: int
) -> list[TimeSlice]:
    """The requests of a bucket in the fewest slices of equal time whose events fit, or nearly fit;
    none where one piece does.

    Args:
        files: the bucket's events. capacity: how many events fit into memory.
    """
    subject = f"source {query.source.name!r}"
    events = (
        int(collect(pl.scan_parquet(files).select(pl.len()), subject, streaming=True).item())
        if files
        else 0
    )
    if events <= capacity:
        return []
    whole = reach_of(requests, query.windows)
    apart = query.source.known_at_field is None or query.source.window_on == "known_at"
    best: list[TimeSlice] = []
    least = events
    if apart and whole is not None and whole.first is not None:
        starts, before = _events_before(files, whole.first, whole.last, subject)
        for cuts in _CUTS:
            slices = _cut(query, requests, cuts)
            most = max(int(_between(starts, before, s.reach)) for s in slices)
            if most < least * 0.9:
                best, least = slices, most
            if least <= capacity:
                break
    if least > capacity:
        remedy = (
            "Shorter windows need fewer" if apart else "Events with a known_at_field stay together"
        )
        warnings.warn(
            f"{subject}: memory= will be exceeded: one key or a few of one bucket have {least:,} "
            "events that are needed in memory at the same time, and the budget allows "
            f"{capacity:,}. {remedy}; give more memory",
            HeadwaterWarning,
            stacklevel=2,
        )
    return best


def _cut(query: Query, requests: Sequence[RequestSet], cuts: int) -> list[TimeSlice]:
    """Slices of equal length of the request times."""
    low = min(int(r.t.min()) for r in requests if len(r.t))
    high = max(int(r.t.max()) for r in requests if len(r.t)) + 1
    edges = low + (high - low) * np.arange(1, cuts) // cuts
    slice_of = [np.searchsorted(edges, r.t, side="right") for r in requests]
    slices = []
    for number in range(cuts):
        chosen = tuple(np.flatnonzero(slice_numbers == number) for slice_numbers in slice_of)
        if any(map(len, chosen)):
            within = [r.take(rows) for r, rows in zip(requests, chosen, strict=True)]
            slices.append(TimeSlice(chosen, reach_of(within, query.windows)))
    return slices


def _events_before(files: list[Path], low: int, high: int, subject: str) -> tuple[I64, I64]:
    """The starts of spans of time, and the number of events before each: int64 both."""
    width = max(-(-(high - low) // _SPANS), 1)
    span = ((pl.col(TIME) - low) // width).alias("span")
    span_counts = collect(
        pl.scan_parquet(files).select(span).group_by("span").len(), subject, streaming=True
    )
    counts = np.zeros(_SPANS + 1, np.int64)
    counts[np.clip(span_counts["span"].to_numpy(), 0, _SPANS)] += span_counts["len"].to_numpy()
    return low + width * np.arange(_SPANS + 2), np.concatenate([[0], np.cumsum(counts)])


def _between(starts: I64, before: I64, reach: Reach | None) -> int:
    """How many events lie in a reach, at most."""
    if reach is None:
        return 0
    assert reach.first is not None
    first = int(np.searchsorted(starts, reach.first, side="right")) - 1
    last = int(np.searchsorted(starts, reach.last, side="left"))
    return int(before[min(last, len(before) - 1)] - before[max(first, 0)])


# bytes an event that sorting and folding need besides the columns: they work in chunks, except for
# a key with many events
_KERNEL = 16

# share of the free memory that is used: hashes do not split evenly, and allocators keep memory from
# one bucket to the next
_SPARE = 0.6

_FINER = 2  # times as many buckets as would do if keys were alike

_MOST_BUCKETS = 512  # buckets; each is a file that is open during the split

_INTERPRETER = 300_000_000  # bytes, where the system does not tell


@dataclass(frozen=True)
class BucketPlan:
    """How many buckets events are split into, and how many events fit into memory."""

    buckets: int
    capacity: int


def resident() -> int:
    """The bytes of memory that this process holds now."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * resource.getpagesize()
    except (ImportError, OSError):
        return _INTERPRETER


def bytes_an_event(sample: pl.DataFrame, columns: Sequence[str]) -> int:
    """The bytes of an event while its bucket is computed: frame, sorted columns, codes and orders;
    strings as long as the sample's.
    """
    string_columns = [
        name for name, dtype in sample.schema.items() if dtype in (pl.String, pl.Binary)
    ]
    long = sum(sample[name].cast(pl.Binary).bin.size().mean() or 0 for name in string_columns)  # type: ignore[misc]
    read = 8 * sample.width + 8 * len(string_columns) + int(long)
    coded = (
        3 * 8 + (8 if KNOWN in sample.schema else 0) + 9 * len(columns) + 32 * len(string_columns)
    )
    # half of it for memory that was read into and is not yet given back to the system
    return read + read // 2 + coded + _KERNEL


def planned(events: int, event_bytes: int, free: int) -> BucketPlan:
    """A plan for so many events of so many bytes each, in so much memory.

    >>> planned(1_000_000, 100, 50_000_000)
    BucketPlan(buckets=8, capacity=300000)
    """
    capacity = max(int(free * _SPARE) // event_bytes, 1)
    return BucketPlan(
        1 if events <= capacity else min(-(-events // capacity) * _FINER, _MOST_BUCKETS), capacity
    )


BUCKET = "__bucket"

_GROUP = 1 << 18  # rows of a row group, which is written, and later read or skipped, as one

_STATISTICS = {"min": True, "max": True, "distinct_count": False, "null_count": True}


def hash_of(columns: Mapping[str, pl.DataType], seed: int = 0) -> pl.Expr:
    """A hash, uint64, of columns compared in these types; the same for all rows where there are
    none.
    """
    combined = pl.lit(0, pl.UInt64)
    for number, (name, dtype) in enumerate(columns.items()):
        hashed = pl.col(name).cast(dtype).hash(seed + number)
        combined = combined ^ hashed if number else hashed
    return combined


def split(
    frame: pl.LazyFrame,
    bucket: pl.Expr,
    folder: Path,
    subject: str,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Write the rows of each bucket into files of its own under `folder`, in their order;
    `on_progress` gets each batch's number of rows.

    Raises:
        DataError: the rows cannot be read; `subject` names them.
        OSError: the disk is full.
    """
    if on_progress is not None:
        frame = frame.map_batches(_with_progress(on_progress), streamable=True)
    disk.make_folder(folder)
    parts = pl.PartitionBy(folder, key=BUCKET, include_key=False, approximate_bytes_per_file=None)
    dealt = frame.with_columns(bucket.cast(pl.UInt32).alias(BUCKET))
    try:
        dealt.sink_parquet(
            parts,
            compression="uncompressed",
            statistics=_STATISTICS,
            row_group_size=_GROUP,
            mkdir=True,
        )
        disk.tighten(folder)
    except PolarsError as error:  # polars has one error for what it reads and what it writes
        if f"os error {errno.ENOSPC}" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise DataError(f"{subject} cannot be read: {read_error(error)}") from error
    except OSError as error:
        if "object-store error" not in str(error):
            raise
        raise DataError(f"{subject} cannot be read: {read_error(error)}") from error


def bucket_files(folders: Sequence[Path], bucket: int) -> list[Path]:
    """The files of one bucket, in order; none where no row fell into it."""
    return [
        file for folder in folders for file in sorted((folder / f"{BUCKET}={bucket}").glob("*"))
    ]


def _with_progress(on_progress: Callable[[int], None]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    lock = threading.Lock()

    def passed(batch: pl.DataFrame) -> pl.DataFrame:
        with lock:
            on_progress(batch.height)
        return batch

    return passed
