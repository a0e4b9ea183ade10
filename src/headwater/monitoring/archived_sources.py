"""Streamed sources as production received them: the archive's events, each known from its commit
on, after what history knew before.

| event | comes from | known from |
|---|---|---|
| known before the stream's first record was received | the source's history | as the source says |
| later | the archive: `DATA_DIR/archive/SOURCE`, and the online store for events not in files yet | the commit that made it readable |

A source without a stream, or without archived events, is read from its history.
"""  # noqa: E501 (output as it is printed)

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from headwater import settings
from headwater.connectors import scan
from headwater.definitions.feature_service import Enriched, FeatureService
from headwater.definitions.model import Model
from headwater.definitions.source import Source
from headwater.errors import DataError
from headwater.events.read_events import KNOWN, ROW, arrived, collect
from headwater.ingestion.archive import (
    KNOWN_AT,
    Roller,
    as_today,
    broken_files_named,
    readable_parts,
)
from headwater.ingestion.validate import AT, Acceptance
from headwater.state.view_state import progresses
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import placed_source

ARCHIVE = "archive"
ARCHIVED = ("accepted", "released", "rejudged")
"""The counts of a stream's progress whose events are archived."""


def streamed(model: Model) -> bool:
    """Whether a view of the model reads a source with a stream."""
    return any(view.source.stream is not None for view in model.features.views_in_history)


def with_archive(model: Model, data_dir: Path, store: OnlineStore | None) -> Model:
    """The model with the history of each streamed source as its archive has it.

    Args:
        model: its services read the sources.
        data_dir: the folder in which ingestion keeps the archive.
        store: that ingestion writes, as the project sees it; None reads files alone.

    Raises:
        DataError: a file of the archive that cannot be read; files without the store that holds
            what came after them.
    """
    known: dict[str, Source] = {}

    def archived(source: Source) -> Source:
        if source.stream is None or isinstance(source.history, Enriched):
            return source
        if source.name not in known:
            known[source.name] = _archived(source, model.features, data_dir, store)
        return known[source.name]

    return dataclasses.replace(model, features=model.features.over(archived))


def _archived(
    source: Source, service: FeatureService, data_dir: Path, store: OnlineStore | None
) -> Source:
    """The source over its archive; itself where it has none."""
    name = source.name if store is None else placed_source(store, source).name
    files = readable_parts(data_dir / ARCHIVE, name)
    if store is not None:
        check_archive(store, data_dir, name)
    elif files:
        raise DataError(
            f"source {source.name!r} is archived in {archive_place(data_dir)}, and its latest "
            "events are in the online store; give store="
        )
    acceptance = Acceptance(
        source, tuple(view.root for view in service.views if view.source == source), 0
    )
    schema = dict(acceptance.schema)
    columns = {**schema, KNOWN_AT: pl.Datetime("us", "UTC")}
    with broken_files_named(data_dir, source.name):
        parts = [file.read() for file in files] + _waiting(name, data_dir, store)
        begun = min(
            (int(part[AT].dt.epoch("us").min()) for part in parts if part.height),  # type: ignore[arg-type]
            default=None,
        )
        rows = [as_today(part, columns)[0] for part in parts]
    if begun is None:
        return source
    history = pl.concat([*_before(source, list(schema), begun), *rows], how="diagonal_relaxed")
    select = list(schema) if source.select is None else source.select
    return dataclasses.replace(
        source, history=history, select=select, known_at_field=KNOWN_AT, known_after="0s"
    )


def check_archive(store: OnlineStore, data_dir: Path, source: str) -> None:
    """Refuse a folder without the archive of a source whose events were accepted, such as one of
    fetched logs.

    source: its name in the store.

    Raises:
        DataError: the archive is somewhere else.
    """
    if missing := events_elsewhere(store, data_dir, source):
        raise DataError(
            f"{missing:,} events of source {source!r} are archived, and no archive of it is in "
            f"{archive_place(data_dir)}: copy or link the folder {ARCHIVE!r} of the ingesting "
            "machine into the data directory, or keep the archive on an object store "
            "(archive-url)"
        )


def events_elsewhere(store: OnlineStore, data_dir: Path, source: str) -> int:
    """How many archived events of a source the store does not hold any more, in partitions without
    a file of the archive here.
    """
    missing = 0
    for partition, progress in progresses(store, source).items():
        roller = Roller(
            store, keyspace.ARCHIVE, data_dir / ARCHIVE, source, partition.decode() or None
        )
        archived = progress.accepted
        if archived > 0 and not roller.archive.parts():
            missing += max(archived - sum(rows().height for rows in roller.parts()), 0)
    return missing


def archive_place(data_dir: Path) -> str:
    """Where the archive of a data directory is."""
    url = settings.archive_url()
    return str(data_dir / ARCHIVE) if url is None else f"{url}/{ARCHIVE}"


def _waiting(name: str, data_dir: Path, store: OnlineStore | None) -> list[pl.DataFrame]:
    """The archived rows of a source that are still in the store, by partition and commit."""
    if store is None:
        return []
    parts = list[pl.DataFrame]()
    for partition in progresses(store, name):
        roller = Roller(
            store, keyspace.ARCHIVE, data_dir / ARCHIVE, name, partition.decode() or None
        )
        parts += [part() for part in roller.parts()[len(roller.archive.parts()) :]]
    return parts


def _before(source: Source, columns: Sequence[str], begun: int) -> list[pl.DataFrame]:
    """The rows of the source's history that were known before the stream began, with when they
    were: none without a history.
    """
    if source.history is None:
        return []
    table = collect(scan(source.table).select(columns), f"source {source.name!r}")
    over = dataclasses.replace(source, history=table.with_row_index(ROW), filter=None)
    events = collect(arrived(over, [], [], [ROW], known=True), f"source {source.name!r}").filter(
        pl.col(KNOWN) < begun
    )
    known_at = events[KNOWN].cast(pl.Int64).cast(pl.Datetime("us", "UTC")).alias(KNOWN_AT)
    return [table[events[ROW]].with_columns(known_at)]
