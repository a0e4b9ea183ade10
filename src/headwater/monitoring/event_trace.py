"""The events of one key, accepted or not and why: the evidence behind a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from headwater.connectors import scan
from headwater.definitions.checks import micros
from headwater.definitions.connectors import Frame
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source, output_name
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.events.change_images import ANOTHER, followed, versions_of
from headwater.events.read_events import (
    BEFORE,
    IDENT,
    KNOWN,
    REMOVED_AT,
    ROW,
    TIME,
    Notes,
    Reach,
    arrived,
    collect,
)
from headwater.ingestion.archive import FOLDERS, KNOWN_AT, SEQUENCE, Roller, as_today
from headwater.ingestion.change_state import OLDER, PASSED
from headwater.ingestion.ids import DedupIndex
from headwater.ingestion.past_events import first_ids, images_before
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.tombstones import read_erased
from headwater.ingestion.validate import COPY, Acceptance
from headwater.kernel.arrays import LASTS
from headwater.monitoring.archived_sources import archive_place, events_elsewhere
from headwater.online.view_reader import OnlineView, ViewValues
from headwater.stores import OnlineStore, keyspace
from headwater.training.feature_frames import tables

FAR = 2**60
_FILTERED = "filtered: the source's filter leaves it out"
_NO_TIME = "filtered: it has no time"
_NOTHING = "corrected: it takes an event back, or changes nothing"


@dataclass(frozen=True)
class EventTrace:
    """The events of one key, with `__ok`, whether each was accepted, and `__why` not. notes: gaps
    in the archive.
    """

    view: FeatureView
    store: OnlineStore | None
    folder: Path | None
    notes: Counter[str] = field(default_factory=Counter)

    def events(self, keys: Mapping[str, object], served: ViewValues) -> pl.DataFrame:
        """Keys, columns, TIME, KNOWN, REMOVED_AT where events can be taken back, ROW, `__ok`,
        `__why`, and `__late`: not known by K.
        """
        if self.view.freshness.scheduled or self.store is None:
            return self._of_history(keys, served).with_columns(
                (pl.col(KNOWN) > served.read_version.K).alias("__late")
            )
        key_filter, begun = _key_filter(keys), OnlineView(self.view, self.store).state.from_history
        past = begun if self.view.source.history is not None else 0
        if self.view.source.changes is not None:
            parts = [self._of_images(served, past)]
        else:
            parts = self._stored_events(keyspace.ARCHIVE, served)
            if past:
                erased = read_erased(self.store, self.view.source)
                also = sorted(erased.columns - set(self.view.keys) - self.view.read_columns)
                before = self._of_history(keys, served, also).filter(
                    pl.col(TIME) < past, pl.col(KNOWN) <= past
                )
                left = pl.Series(~erased.of_events(before, self.view.source), dtype=pl.Boolean)
                before = before.filter(left).drop(also)
                parts.append(
                    before.with_columns((pl.col(KNOWN) > served.read_version.T).alias("__late"))
                )
        whole = pl.concat(
            [*parts, *self._refused(served), *self._stored_events(keyspace.FILTERED, served)],
            how="diagonal_relaxed",
        ).drop(ROW)
        return whole.filter(key_filter).with_row_index(ROW)

    def _of_images(self, served: ViewValues, past: int) -> pl.DataFrame:
        """As `events`, of every key: a change may have moved an event here, or away."""
        source, parts = self.view.source, self._stored_events(keyspace.ARCHIVE, served)
        if past:
            assert self.store is not None
            erased = read_erased(self.store, source)
            before = images_before(self._acceptance(source), past, erased)
            parts.append(
                before.with_columns((pl.col(KNOWN) > served.read_version.T).alias("__late"))
            )
        images = pl.concat(parts, how="diagonal_relaxed")
        begun, ended = versions_of(images.drop(ROW, "__late", "__why", "__ok"), source)
        judged = images.with_row_index("__n").with_columns(
            pl.Series(REMOVED_AT, ended), pl.Series("__ok", begun)
        )
        superseded = followed(judged.filter("__ok")).select("__n", ANOTHER)
        timeless = pl.col(TIME).is_null()
        why = (
            pl.when(~pl.col("__ok"))
            .then(pl.lit(_NOTHING))
            .when(timeless)
            .then(pl.lit(_NO_TIME))
            .alias("__why")
        )
        judged = judged.join(superseded, on="__n", how="left", maintain_order="left").with_columns(
            why, pl.col("__ok") & ~timeless
        )
        return judged.drop("__n", BEFORE)

    def _of_history(
        self, keys: Mapping[str, object], served: ViewValues, also: Sequence[str] = ()
    ) -> pl.DataFrame:
        columns = sorted({*self.view.read_columns, *also} - set(self.view.keys))
        enriched = tables(served.read_version.T, FAR, Notes())
        enriched.read(self.view.source, {*self.view.keys, *columns}, None)
        source, key_filter = _numbered(enriched.readable(self.view.source), keys), _key_filter(keys)
        every = collect(
            arrived(
                replace(source, filter=None), self.view.keys, columns, [ROW], known=True
            ).filter(key_filter),
            source.name,
        )
        passing = collect(
            arrived(source, self.view.keys, columns, [ROW]).filter(key_filter).select(ROW),
            source.name,
        )[ROW]
        accepted = open_engine().events(
            EventQuery(source, self.view.keys, [*columns, ROW], Reach(None, FAR, FAR)), EngineRun()
        )
        accepted = followed(accepted) if REMOVED_AT in accepted.columns else accepted
        why = (
            pl.when(~pl.col(ROW).is_in(passing.implode()))
            .then(pl.lit(_FILTERED))
            .when(pl.col(TIME).is_null() | pl.col(KNOWN).is_null())
            .then(pl.lit(_NO_TIME))
            .when(~pl.col(ROW).is_in(accepted[ROW].implode()))
            .then(pl.lit("duplicate: " + COPY if source.changes is None else _NOTHING))
        )
        if source.window_on == "known_at":
            every = every.with_columns(
                pl.when(pl.col(TIME).is_not_null()).then(pl.col(KNOWN)).alias(TIME)
            )
        if REMOVED_AT in accepted.columns:
            every = every.join(
                accepted.select(ROW, REMOVED_AT, ANOTHER), on=ROW, how="left", maintain_order="left"
            )
            every = every.with_columns(pl.col(REMOVED_AT).fill_null(LASTS))
        return every.with_columns(why.alias("__why")).with_columns(
            pl.col("__why").is_null().alias("__ok")
        )

    def _stored_events(self, space: bytes, served: ViewValues) -> list[pl.DataFrame]:
        """The stream's rows in a space, known from their commit on: what was accepted, or what the
        source's filter leaves out.
        """
        accepted, frames = space == keyspace.ARCHIVE, []
        filtering, every = (
            self._acceptance(self.view.source),
            self._acceptance(replace(self.view.source, filter=None)),
        )
        columns = {**every.schema, **filtering.schema}
        if accepted and self.folder is not None and self.store is not None:
            elsewhere = events_elsewhere(self.store, self.folder, self.view.source.name)
            if elsewhere:
                self.notes[
                    f"events of every key, whose archive is not in {archive_place(self.folder)}"
                ] += elsewhere
        schema: dict[str, pl.DataType] = {
            KNOWN_AT: pl.Datetime("us", "UTC"),
            SEQUENCE: pl.Int64(),
            **columns,
        }
        for partition in self._partitions() or [None]:
            chunks = [pl.DataFrame(schema=schema)]
            for read in self._roller(partition, space).parts():
                rows, lost = as_today(read(), schema)
                chunks.append(rows)
                self.notes.update(lost)
            table = pl.concat(chunks)
            late = (table[SEQUENCE] > served.read_version.sequences.get(partition, FAR)) | (
                table[KNOWN_AT].dt.epoch("us") > served.read_version.T
            )
            events = every.events_of(table.select(list(every.schema)))
            # the filter may be another than it was
            passing = filtering.events_of(table.select(list(filtering.schema)))[ROW]
            ok = pl.lit(accepted) & pl.col(ROW).is_in(passing.implode())
            events = events.with_columns(
                table[KNOWN_AT].dt.epoch("us").alias(KNOWN), late.alias("__late"), ok.alias("__ok")
            )
            events = events.with_columns(
                pl.when(~pl.col("__ok")).then(pl.lit(_FILTERED)).alias("__why")
            )
            frames.append(self._copies_marked(events) if accepted else events)
        return frames

    def _copies_marked(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events of an archive, without copies by today's rule of ids: it may have been written by
        another one.
        """
        source = self.view.source
        if (
            source.id_field is None
            or source.changes is not None
            or self.store is None
            or not events.height
        ):
            return events
        judged = (
            events.with_row_index("__n")
            .filter("__ok", pl.col(IDENT).is_not_null())
            .sort(KNOWN, maintain_order=True)
        )
        ids = DedupIndex(micros(source.id_horizon, "id_horizon"))
        history = first_ids(self.store, source)
        if history is not None:
            ids = ids.accept(history[0], np.zeros(len(history[0]), np.int64), history[1]).index
        first = ids.accept(
            judged[IDENT], np.zeros(judged.height, np.int64), judged[KNOWN].to_numpy()
        ).accepted
        copies = judged["__n"].filter(pl.Series(~first, dtype=pl.Boolean))
        copy = pl.Series(np.isin(np.arange(events.height), copies.to_numpy()))
        why = pl.when(copy).then(pl.lit("duplicate: " + COPY)).otherwise("__why")
        return events.with_columns(why.alias("__why"), (pl.col("__ok") & ~copy).alias("__ok"))

    def _refused(self, served: ViewValues) -> list[pl.DataFrame]:
        """What was left out as copies, or refused."""
        acceptance, frames = self._acceptance(self.view.source), []
        for partition in self._partitions() if self.view.source.stream is not None else []:
            rows = self._roller(partition, keyspace.DEAD).rows()
            if rows is None:
                continue
            table = rows.collect()
            decoded = acceptance.decode(table["payload"].to_list())
            events = acceptance.events_of(decoded.frame)
            verdicts = table.select(KNOWN_AT, "reason")[decoded.rows][events[ROW]]
            kind = (
                pl.when(pl.col("reason") == COPY)
                .then(pl.lit("duplicate: "))
                .when(pl.col("reason").is_in([OLDER, PASSED]))
            )
            why = verdicts.select(
                kind.then(pl.lit("corrected: ")).otherwise(pl.lit("refused: ")) + pl.col("reason")
            )
            known = verdicts[KNOWN_AT].dt.epoch("us").alias(KNOWN)
            events = events.with_columns(
                known,
                why.to_series().alias("__why"),
                (known > served.read_version.T).alias("__late"),
            )
            frames.append(events.with_columns(pl.lit(value=False).alias("__ok")))
        return frames

    def _acceptance(self, source: Source) -> Acceptance:
        return Acceptance(
            source, (self.view,), micros(IngestLimits().max_future_skew, "max_future_skew")
        )

    def _roller(self, partition: str | None, space: bytes) -> Roller:
        assert self.store is not None
        return Roller(
            self.store,
            space,
            (self.folder or Path()) / FOLDERS[space],
            self.view.source.name,
            partition,
        )

    def _partitions(self) -> list[str | None]:
        assert self.store is not None
        name = keyspace.PROGRESS + keyspace.name(self.view.source.name)
        partitions = [key[len(name) : -1].decode() or None for key, _ in self.store.scan(name)]
        return partitions or [None]


def _key_filter(keys: Mapping[str, object]) -> pl.Expr:
    return (
        pl.all_horizontal(pl.col(k) == pl.lit(v) for k, v in keys.items())
        if keys
        else pl.lit(value=True)
    )


def _numbered(source: Source, keys: Mapping[str, object]) -> Source:
    """The source over the rows of its table that are of a key, or share an id with one that is;
    each row's number is selected too.
    """
    expressions = {
        output_name(item): item if isinstance(item, pl.Expr) else pl.col(item)
        for item in source.select or ()
    }
    key_filter = (
        pl.all_horizontal(expressions.get(k, pl.col(k)) == pl.lit(v) for k, v in keys.items())
        if keys
        else pl.lit(value=True)
    )
    table = scan(source.table)
    if source.id_field is not None and keys:
        ident = expressions.get(source.id_field, pl.col(source.id_field))
        ids = collect(table.filter(key_filter).select(ident.alias("id").unique()), source.name)[
            "id"
        ]
        key_filter = key_filter | ident.is_in(ids.implode())
    rows = collect(table.filter(key_filter), source.name).with_row_index(ROW)
    return replace(
        source, history=Frame(rows), select=None if source.select is None else [*source.select, ROW]
    )
