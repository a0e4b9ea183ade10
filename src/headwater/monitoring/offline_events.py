"""The events of a view as training has them: of the archive up to the commits that were served,
after the history that it began with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from headwater.definitions.checks import micros
from headwater.definitions.feature_view import FeatureView
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.events.change_images import ended, in_force
from headwater.events.read_events import KNOWN, ROW, Notes, Reach
from headwater.ingestion.archive import KNOWN_AT, SEQUENCE, Roller, as_today
from headwater.ingestion.past_events import Accepted, first_ids, history_before, images_before
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.tombstones import read_erased
from headwater.ingestion.validate import Acceptance
from headwater.kernel.as_of import NEVER
from headwater.monitoring.archived_sources import check_archive
from headwater.online.view_reader import OnlineView, ViewValues
from headwater.stores import OnlineStore, keyspace
from headwater.training.feature_frames import tables
from headwater.training.resources import DEFAULT_RESOURCES, Resources


@dataclass
class Offline:
    """The events of a view as training has them.

    folder: where the archive of streams lies. notes: of the archive, what cannot be told as the
    stream is now, by reason.
    archived: the events of the archive that `committed` was last given, each id once. repeated: the
    other ones with an id among them, where the stream has several partitions: each partition has
    accepted them.
    """

    view: FeatureView
    store: OnlineStore
    folder: Path | None
    resources: Resources = DEFAULT_RESOURCES
    notes: Counter[str] = field(default_factory=Counter)
    archived: pl.DataFrame = field(default_factory=pl.DataFrame)
    repeated: pl.DataFrame = field(default_factory=pl.DataFrame)

    @cached_property
    def columns(self) -> list[str]:
        """The columns that the view's features read, without its keys."""
        return sorted(self.view.read_columns - set(self.view.keys))

    def events(self, served: ViewValues) -> pl.DataFrame:
        """The events that count for what was served: keys, columns, TIME, and KNOWN where it does
        not follow from the event time.
        """
        if self.view.freshness.scheduled:
            return self.history(served.read_version.T, served.read_version.T, served.read_version.K)
        known = pl.col(KNOWN_AT).dt.epoch("us")
        return self.committed(
            {partition: (last, known) for partition, last in served.read_version.sequences.items()}
        )

    def history(self, first: int, last: int, known: int) -> pl.DataFrame:
        """The events of history that any T from first to last can count, and that were known by
        `known`: microseconds all.
        """
        reaches = [f.window.reach for f in self.view.outputs]
        begin = None if None in reaches else first - max(r for r in reaches if r is not None)
        enriched = tables(last, known, Notes(), Resources(engine=self.resources.engine))
        enriched.read(self.view.source, {*self.view.keys, *self.columns}, begin)
        query = EventQuery(
            enriched.readable(self.view.source),
            self.view.keys,
            self.columns,
            Reach(begin, last, known),
        )
        return open_engine(self.resources.engine).events(query, EngineRun())

    def committed(self, commits: Mapping[str | None, tuple[int, pl.Expr]]) -> pl.DataFrame:
        """The events of the archive, and of the history that the view began with, where it did:
        known at NEVER.

        commits: by partition, the last commit that counts, and what says when an event of the
        archive was known.
        """
        acceptance = Acceptance(
            self.view.source,
            (self.view,),
            micros(IngestLimits().max_future_skew, "max_future_skew"),
        )
        nothing = acceptance.events_of(pl.DataFrame(schema=acceptance.schema))
        columns = {KNOWN_AT: pl.Datetime("us", "UTC"), SEQUENCE: pl.Int64(), **acceptance.schema}
        self.notes.clear()
        frames = [
            nothing.with_columns(
                pl.lit(0, pl.Int64).alias(KNOWN), pl.lit(0, pl.Int64).alias(SEQUENCE)
            )
        ]
        parts, repeated = list[pl.LazyFrame](), [nothing]
        if self.folder is not None:
            check_archive(self.store, self.folder, self.view.source.name)
            for partition, (last, known) in commits.items():
                roller = Roller(
                    self.store,
                    keyspace.ARCHIVE,
                    self.folder / "archive",
                    self.view.source.name,
                    partition,
                )
                for read in roller.parts():
                    self.notes.update(as_today(read().filter(pl.col(SEQUENCE) <= last), columns)[1])
                in_commits = (
                    frame.filter(pl.col(SEQUENCE) <= last) for frame in roller.lazy_parts()
                )
                parts += [
                    frame.with_columns(known.cast(pl.Int64).alias(KNOWN)) for frame in in_commits
                ]
        accepted = Accepted(
            acceptance,
            parts,
            read_erased(self.store, self.view.source),
            first_ids(self.store, self.view.source),
            also=(KNOWN,),
        )
        for events, copies, rows in accepted.judged():
            frames.append(events.with_columns(rows.select(KNOWN, SEQUENCE)[events[ROW]]))
            repeated += [copies] if len(commits) > 1 else []
        self.archived, self.repeated = (
            pl.concat(frames, how="diagonal_relaxed"),
            pl.concat(repeated, how="diagonal_relaxed"),
        )
        every = pl.concat([self.archived, *self._before(acceptance)], how="diagonal_relaxed")
        return (
            every.drop(SEQUENCE)
            if self.view.source.changes is None
            else ended(every, self.view.source, SEQUENCE)
        )

    def _before(self, acceptance: Acceptance) -> list[pl.DataFrame]:
        begun = OnlineView(self.view, self.store).state.from_history
        if self.view.source.history is None or not begun:
            return []
        erased = read_erased(self.store, self.view.source)
        if self.view.source.changes is None:
            events = history_before(self.view, None, begun, erased)
        else:
            events = images_before(acceptance, begun, erased)
            events = events.filter(pl.Series(in_force(events, self.view.source)))
        return [
            events.with_columns(
                pl.lit(NEVER, pl.Int64).alias(KNOWN), pl.lit(-1, pl.Int64).alias(SEQUENCE)
            )
        ]
