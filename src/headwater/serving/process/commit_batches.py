"""Spark Structured Streaming as the process that ingests: what a query gives to foreachBatch."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headwater import settings
from headwater.definitions.project import Project, checked_call, stored
from headwater.definitions.spark_stream import SparkStream
from headwater.errors import UsageError, given, nearest
from headwater.ingestion.commit_batch import BatchCommitter, BatchTarget
from headwater.ingestion.source_ingestor import IngestLimits, streamed
from headwater.serving.process.ingest_process import check_applied
from headwater.stores.keyspace import opened_for

if TYPE_CHECKING:
    from headwater.catalog.plan import CatalogLike


@checked_call
def commit_batches(
    project: Project,
    source: str,
    *,
    store: str | None = None,
    data_dir: str | PathLike[str] | None = None,
    limits: IngestLimits | None = None,
    catalog: CatalogLike | None = None,
    allow_unapplied: bool = False,
    shared: bool = False,
) -> BatchCommitter:
    """What commits the micro batches of a query of Spark Structured Streaming:
    `frame.writeStream.foreachBatch(commit_batches(...))`.

    Each batch counts once, also where Spark repeats it after a failure: the online store keeps the
    batch id with the commit. Spark calls it in the driver; with Spark Connect, in a process of the
    server. Headwater must be installed there in the same version, and paths are paths of that
    machine.

    Args:
        project: its streaming views of the source are updated.
        source: the name of a source with `stream=headwater_spark.spark_stream(query)`.
        store: the URL of an online store; None takes HEADWATER_STORE, else LMDB in headwater's
            home.
        data_dir: holds accepted events (`archive`) and refused rows (`dead_letters`); None is
            headwater's home.
        limits: sizes and times of commits; a batch of more than `limits.batch` rows is committed in
            pieces.
        catalog: as for `plan`.
        allow_unapplied: run definitions that differ from the catalog.
        shared: add this project to a store that another project uses; needed once.

    Raises:
        UsageError: no such source, none of its views is streaming, or the catalog has other
            definitions.
        StoreError: the folder of an LMDB store cannot be written, or the store belongs to another
            project.

    >>> from datetime import UTC, datetime
    >>> import polars as pl
    >>> import headwater as hw
    >>> import headwater_spark
    >>> stream = headwater_spark.spark_stream(
    ...     "payments", schema={"card": str, "amount": float, "at": datetime}
    ... )
    >>> source = hw.Source("payments", stream=stream, timestamp_field="at")
    >>> view = hw.FeatureView(
    ...     "card",
    ...     source=source,
    ...     keys=["card"],
    ...     features=[hw.count()],
    ...     windows=["1h"],
    ...     freshness=hw.streaming("1m"),
    ... )
    >>> table = pl.DataFrame(
    ...     {"card": ["a"], "at": [datetime(2024, 5, 1, tzinfo=UTC)], "fraud": [1]}
    ... )
    >>> labels = hw.Labels(
    ...     "frauds", table=table, timestamp_field="at", label="fraud", known_after="30d"
    ... )
    >>> model = hw.Model(
    ...     "fraud", task="binary", features=hw.FeatureService("service", [view]), labels=labels
    ... )
    >>> commit_batches(
    ...     hw.Project("shop", [model]),
    ...     "payments",
    ...     store="redis://cache:6379/0",
    ...     allow_unapplied=True,
    ... )
    commit_batches(project='shop', source='payments')
    """
    if store is not None and not isinstance(store, str):
        raise UsageError(
            f"store is {given(store)}; give its URL, since Spark opens it in another process"
        )
    by_name = {
        s.name: views
        for s, views in streamed([stored_view.view for stored_view in stored(project)]).items()
    }
    declared = {s.name: s for s in project.sources}
    if source not in declared:
        raise UsageError(
            f"project {project.name!r} has no source {source!r}; {nearest(source, declared)}"
        )
    if not isinstance(declared[source].stream, SparkStream):
        raise UsageError(
            f"the stream of source {source!r} is {declared[source].stream or 'missing'}; give it "
            "stream=headwater_spark.spark_stream(query), with the name of the query that brings "
            "its events"
        )
    if source not in by_name:
        raise UsageError(
            f"source {source!r} has no streaming view; give one freshness=hw.streaming('1m')"
        )
    if not allow_unapplied:
        check_applied(project, catalog)
    url = _absolute(settings.store() if store is None else store)
    if url.startswith("lmdb:"):
        with opened_for(project.name, url, write=True, shared=shared):
            pass  # it is there now, so that a driver on another machine is noticed
    folder = settings.home() if data_dir is None else Path(data_dir)
    return BatchCommitter(
        BatchTarget(
            project.name,
            declared[source],
            by_name[source],
            url,
            folder.absolute(),
            limits or IngestLimits(),
            shared,
            settings.reads(),
            settings.archive_url(),
        )
    )


def _absolute(url: str) -> str:
    """The URL of a store, with the whole path of a folder: another process has another working
    folder.

    >>> _absolute("lmdb:/data/online?size=1GB"), _absolute("redis://cache:6379/0")
    ('lmdb:/data/online?size=1GB', 'redis://cache:6379/0')
    """
    parts = urlsplit(url)
    if parts.scheme != "lmdb":
        return url
    return f"lmdb:{Path(parts.netloc + parts.path).absolute()}" + (
        f"?{parts.query}" if parts.query else ""
    )
