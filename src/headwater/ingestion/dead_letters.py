"""Refused records, and how they are replayed: through the same acceptance as when they came, each
at most once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.definitions.checks import micros, parse_timestamp
from headwater.definitions.definition import Readable
from headwater.definitions.project import Project, stored
from headwater.definitions.source import Source
from headwater.errors import UsageError, nearest
from headwater.ingestion.archive import FOLDERS, KNOWN_AT, Roller
from headwater.ingestion.change_state import (
    ACCEPTED,
    DUPLICATE,
    FILTERED,
    HELD,
    OLDER,
    PASSED,
    REFUSED,
)
from headwater.ingestion.committed import Committed
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor, streamed
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.ingestion.validate import COPY, DEAD_SCHEMA, OFFSET, PARTITION, Acceptance
from headwater.state import record
from headwater.stores import OnlineStore, ingest_lease, keyspace, opened

AGAIN = "replayed "
"""What the partition of a replayed record begins with, in the archive and among refused records."""
_KEPT_ASIDE = (COPY, OLDER, PASSED)
_OUTCOME_NAMES = {
    ACCEPTED: "accepted",
    DUPLICATE: "duplicates",
    FILTERED: "filtered",
    HELD: "held",
    REFUSED: "refused",
}


@dataclass(frozen=True)
class Replayed(Readable):
    """The result of a replay of refused records; with `dry_run`, the expected result.

    records: how many. before: others that an earlier replay has taken in. outcomes: how many are
    accepted, duplicates, filtered, held or refused again. reasons: why those are.
    """

    source: str
    records: int
    before: int
    outcomes: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = (
            ", ".join(f"{n:,} {outcome}" for outcome, n in self.outcomes.items() if n)
            or "nothing to replay"
        )
        return (
            f"{self.source}: {self.records:,} refused records: {counts}; {self.before:,} had been "
            "replayed before"
        )


@dataclass(frozen=True)
class DeadLetterFilter(Readable):
    """Which refused records.

    reason: those whose reason contains this text. since, until: those refused from then on, and
    before then; tz-aware, or ISO 8601 with an offset. offsets: those with these offsets; none is
    all.
    """

    reason: str | None = None
    since: datetime | str | None = None
    until: datetime | str | None = None
    offsets: Sequence[int] = ()

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that the filter selects."""
        selected = rows
        if self.reason is not None:
            selected = selected.filter(pl.col("reason").str.contains(self.reason, literal=True))
        if self.since is not None:
            selected = selected.filter(
                pl.col(KNOWN_AT).dt.epoch("us") >= parse_timestamp(self.since, "since")
            )
        if self.until is not None:
            selected = selected.filter(
                pl.col(KNOWN_AT).dt.epoch("us") < parse_timestamp(self.until, "until")
            )
        return (
            selected.filter(pl.col(OFFSET).is_in(list(self.offsets))) if self.offsets else selected
        )


def dead_letters(
    project: Project,
    source: str,
    which: DeadLetterFilter | None = None,
    *,
    store: OnlineStore | str | None = None,
    data_dir: Path | None = None,
) -> pl.DataFrame:
    """The refused records of a source, the latest first, with `replayed`: whether a replay has
    taken them in.

    Args:
        project: whose source.
        source: its name.
        which: only some of them; None is all.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps refused records; None is headwater's home.

    Raises:
        UsageError: the project has no such source.
    """
    home = settings.home() if data_dir is None else data_dir
    with opened(store, readonly=True) as opened_store:
        _source(project, source)
        chosen = which or DeadLetterFilter()
        frames = [
            chosen.of(_of_writer(opened_store, source, partition, home))
            for partition in _partitions(opened_store, source)
        ]
    none = pl.DataFrame(schema={**DEAD_SCHEMA, "replayed": pl.Boolean()})
    return pl.concat([none, *frames]).sort(KNOWN_AT, OFFSET, descending=True)


def replay_dead_letters(
    project: Project,
    source: str,
    which: DeadLetterFilter | None = None,
    *,
    store: OnlineStore | str | None = None,
    data_dir: Path | None = None,
    dry_run: bool = False,
    limits: IngestLimits | None = None,
) -> Replayed:
    """Send refused records of a source through acceptance again, as received now; each is taken in
    at most once.

    Which records were taken in is written in the commit that takes them in, so a second replay,
    also after a crash, leaves them out. What is refused again stays among the refused records.
    Duplicates, and changes that a later one replaced, are never replayed. With LMDB ingestion has
    to be stopped; with Redis it goes on.

    Args:
        project, source, which, store, data_dir: as for `dead_letters`.
        dry_run: only say what would be accepted; duplicates are then counted as accepted.
        limits: as for ingestion.

    Raises:
        UsageError: the project has no such source, or nothing streams it.
        StoreError: the store cannot be written, or another process ingests into it.
    """
    home, limits = settings.home() if data_dir is None else data_dir, limits or IngestLimits()
    views = {
        stored_view.name: (stored_view, views)
        for stored_view, views in streamed(
            [stored_view.view for stored_view in stored(project)]
        ).items()
    }
    origin = _source(project, source)
    if source not in views:
        raise UsageError(
            f"source {source!r} has no streaming view, so nothing would take its records in"
        )
    chosen = which or DeadLetterFilter()
    with (
        opened(store, readonly=dry_run) as opened_store,
        nullcontext()
        if dry_run
        else ingest_lease(opened_store, wait=limits.wait, instead="replay"),
    ):
        ingestor = (
            None
            if dry_run
            else SourceIngestor(origin, views[source][1], opened_store, home, limits)
        )
        acceptance = Acceptance(
            origin, tuple(views[source][1]), micros(limits.max_future_skew, "max_future_skew")
        )
        total = Replayed(source, 0, 0)
        for partition in _partitions(opened_store, source):
            rows = chosen.of(_of_writer(opened_store, source, partition, home)).filter(
                ~pl.col("reason").is_in(_KEPT_ASIDE)
            )
            before = int(rows["replayed"].sum())
            rows = rows.filter(~pl.col("replayed"))
            for first in range(0, max(rows.height, 1), limits.batch):
                batch = rows.slice(first, limits.batch)
                done = (
                    _tried(acceptance, batch)
                    if ingestor is None
                    else _replayed_batch(ingestor, partition, batch)
                )
                total = _sum(total, done, batch.height, before if first == 0 else 0)
        return total


def _of_writer(
    store: OnlineStore, source: str, partition: str | None, folder: Path
) -> pl.DataFrame:
    """The refused records of one writer, each as it was last refused; `replayed` says whether a
    replay has taken it in.
    """
    rows = Roller(store, keyspace.DEAD, folder / FOLDERS[keyspace.DEAD], source, partition).rows()
    letters = (
        pl.DataFrame(schema=DEAD_SCHEMA) if rows is None else rows.select(*DEAD_SCHEMA).collect()
    )
    letters = letters.sort(KNOWN_AT).unique([PARTITION, OFFSET], keep="last", maintain_order=True)
    letters = letters.with_columns(pl.col(PARTITION).str.strip_prefix(AGAIN).alias("_own")).unique(
        ["_own", OFFSET], keep="last", maintain_order=True
    )
    name = source if partition is None else f"{source}\0{partition}"
    marks = [record.frame_of(value) for _, value in store.scan(keyspace.replayed(name))]
    done = pl.concat(
        [pl.DataFrame(schema={"_own": pl.String(), OFFSET: pl.Int64()}), *marks]
    ).with_columns(replayed=True)
    letters = letters.join(done.unique(), on=["_own", OFFSET], how="left", maintain_order="left")
    return letters.with_columns(pl.col("replayed").fill_null(value=False)).drop("_own")


def _replayed_batch(
    ingestor: SourceIngestor, partition: str | None, rows: pl.DataFrame
) -> Replayed:
    """Commit some records, and which of them were taken in."""
    if not rows.height:
        return Replayed("", 0, 0)
    record_ids = rows.select(pl.col(PARTITION).str.strip_prefix(AGAIN).alias("_own"), OFFSET)
    writer = ingestor.writer(partition)

    def marks(committed: Committed) -> dict[bytes, bytes | None]:
        outcomes = committed.record_outcomes
        taken = (
            record_ids.filter(pl.Series(outcomes[0] != REFUSED)) if outcomes else record_ids.clear()
        )
        key = keyspace.replayed(writer.name) + keyspace.block(b"", "", writer.progress.sequence + 1)
        return {key: record.frame_bytes(taken)} if taken.height else {}

    committed = writer.apply([_records(rows)], clock.now_micros(), 0, marks)
    outcomes = Counter(
        _OUTCOME_NAMES[code]
        for record_outcomes in committed.record_outcomes
        for code in record_outcomes.tolist()
    )
    return Replayed("", 0, 0, outcomes, Counter(committed.dead["reason"].to_list()))


def _tried(acceptance: Acceptance, rows: pl.DataFrame) -> Replayed:
    """The outcome of accepting some records, without a commit."""
    if not rows.height:
        return Replayed("", 0, 0)
    arrived = acceptance(_records(rows))
    outcomes = {
        "accepted": arrived.events.height,
        "filtered": len(arrived.filtered),
        "refused": arrived.dead.height,
    }
    return Replayed("", 0, 0, outcomes, Counter(arrived.dead["reason"].to_list()))


def _records(rows: pl.DataFrame) -> RecordBatch:
    """Refused records as if they came now; no offset is moved."""
    names = [
        AGAIN + name.removeprefix(AGAIN) for name in rows[PARTITION].unique(maintain_order=True)
    ]
    position = {name: n for n, name in enumerate(names)}
    index = np.array(
        [position[AGAIN + name.removeprefix(AGAIN)] for name in rows[PARTITION]], np.int64
    )
    at = np.full(rows.height, clock.now_micros())
    return RecordBatch(names, index, rows[OFFSET].to_numpy(), at, {}, rows["payload"].to_list())


def _sum(total: Replayed, done: Replayed, records: int, before: int) -> Replayed:
    outcomes, reasons = (
        Counter(a) + Counter(b)
        for a, b in ((total.outcomes, done.outcomes), (total.reasons, done.reasons))
    )
    return Replayed(
        total.source, total.records + records, total.before + before, dict(outcomes), dict(reasons)
    )


def _source(project: Project, name: str) -> Source:
    sources = {source.name: source for source in project.sources}
    if name not in sources:
        raise UsageError(
            f"project {project.name!r} has no source {name!r}; {nearest(name, list(sources))}"
        )
    return sources[name]


def _partitions(store: OnlineStore, source: str) -> list[str | None]:
    prefix = keyspace.PROGRESS + keyspace.name(source)
    return [key[len(prefix) : -1].decode() or None for key, _ in store.scan(prefix)]
