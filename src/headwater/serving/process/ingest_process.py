"""Ingestion as a process: opens the store, serves pushed events and metrics, and checks the
catalog.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import settings
from headwater.catalog.applies_watched import applies_watched
from headwater.definitions.checks import Spelled
from headwater.definitions.connectors import Pushed
from headwater.definitions.definition import Readable
from headwater.definitions.freshness import Streaming
from headwater.definitions.project import Project, checked_call, stored
from headwater.definitions.source import Source
from headwater.errors import UsageError
from headwater.ingestion.committed import Committed
from headwater.ingestion.ingest import OnCommit
from headwater.ingestion.ingest import ingest as run
from headwater.ingestion.source_ingestor import IngestLimits, streamed
from headwater.stores import OnlineStore, UnansweredError
from headwater.stores.keyspace import opened_for

if TYPE_CHECKING:
    from headwater.catalog.plan import CatalogLike
    from headwater.serving.process.supervisor_link import SupervisorLink

HTTP = "127.0.0.1:8321"


class UnappliedWarning(UserWarning):
    """The project was never applied to a catalog."""


@dataclass(frozen=True)
class IngestOptions(Readable, metaclass=Spelled):
    """What an operator may set of ingestion, besides sources and addresses.

    Args:
        tokens: the file of tokens for senders of events, as for `headwater serve`; None is
            `tokens.json` in headwater's home. Without a file, only this machine may push here;
            others push through `headwater serve`.
        metrics_port: port of 127.0.0.1 for Prometheus; None serves no metrics.
        catalog: as for `plan`.
        allow_unapplied: run definitions that differ from the catalog.
        on_commit: called after each commit with the source, the commit, and the lag by partition.
        supervised: for a child of `headwater serve --ingest`, its link to the supervisor, which
            adds its metrics to /metrics.
        shared: add this project to a store that another project uses; needed once.

    >>> IngestOptions(metrics_port=9000)
    IngestOptions(metrics_port=9000)
    """

    tokens: str | PathLike[str] | None = None
    metrics_port: int | None = None
    catalog: CatalogLike | None = None
    allow_unapplied: bool = False
    on_commit: OnCommit | None = None
    supervised: SupervisorLink | None = None
    shared: bool = False


@checked_call
def ingest(
    project: Project,
    store: OnlineStore | str | None = None,
    *,
    data_dir: str | PathLike[str] | None = None,
    limits: IngestLimits | None = None,
    listen: str | None = HTTP,
    once: bool = False,
    stop: threading.Event | None = None,
    options: IngestOptions | None = None,
) -> None:
    """Read the streams of a project into its online store: what `headwater ingest` does, until
    `stop` is set.

    Args:
        project: its streaming views are updated.
        store: an online store, or its URL; None takes HEADWATER_STORE, else LMDB in headwater's
            home.
        data_dir: holds accepted events (`archive`) and refused records (`dead_letters`); None is
            headwater's home.
        limits: sizes and times of commits.
        listen: HOST:PORT that receives events of sources with `hw.push()`; None leaves those
            sources to another process.
        once: end when all records of the streams have been committed; sources with `hw.push()` have
            none.
        stop: ends ingestion after the current commit.
        options: tokens, metrics, the catalog, and a call after each commit.

    Raises:
        UsageError: no view is streaming, the catalog has other definitions, or an address is in
            use.
        DefinitionError: a streaming view whose source has no stream.
        StoreError: the store cannot be written, belongs to another project, or another process
            ingests into it.
        RetentionError: a stream no longer has the next record; `IngestLimits(accept_loss=True)`
            skips it.
        ConnectError: a stream does not respond.
    """
    options = options or IngestOptions()
    if not options.allow_unapplied:
        check_applied(project, options.catalog)
    pushed = any(
        isinstance(source.stream, Pushed)
        for source in streamed([stored_view.view for stored_view in stored(project)])
    )
    with ExitStack() as stack:
        stack.enter_context(_saying_that_it_goes_on())
        if not options.allow_unapplied:
            stack.enter_context(applies_watched(project, options.catalog, Streaming.wrote, "fill"))
        callbacks = [options.on_commit] if options.on_commit is not None else []
        if options.metrics_port is not None or options.supervised is not None:
            from headwater.serving.metrics.ingest_metrics import IngestMetrics
            from headwater.serving.metrics.process_metrics import families

            metrics = IngestMetrics()
            callbacks.append(metrics.committed)
            if options.metrics_port is not None:
                stack.enter_context(metrics.served(options.metrics_port))
            if options.supervised is not None:
                options.supervised.report(lambda: families(metrics.registry.collect()))
                stack.callback(options.supervised.let_go)
        receive = None
        if pushed and listen is not None and not once:
            from headwater.serving.http.event_receiver import receiver

            home = settings.home() / "tokens.json"
            tokens_file = (
                Path(options.tokens)
                if options.tokens is not None
                else home
                if home.exists()
                else None
            )
            receive = receiver(*address(listen), tokens_file)
        run(
            project,
            stack.enter_context(opened_for(project.name, store, write=True, shared=options.shared)),
            data_dir=Path(data_dir) if data_dir is not None else settings.home(),
            limits=limits,
            receive=receive,
            once=once,
            stop=stop,
            on_commit=_all(callbacks),
        )


@contextmanager
def _saying_that_it_goes_on() -> Iterator[None]:
    """Of a store that cannot be reached, add to the error what a restart does: the supervisor of
    the process reads its last line.
    """
    try:
        yield
    except UnansweredError as error:
        raise UnansweredError(
            f"{error} Ingestion ends. Started again (a supervisor does that), it goes on from its "
            "last commit, and each event counts once"
        ) from error


def check_applied(project: Project, catalog: CatalogLike | None) -> None:
    """Refuse definitions that differ from the catalog; warn where the catalog has no version.

    Raises:
        UsageError: a streaming view or its source differs from the catalog.
    """
    from headwater.catalog.plan import compare

    changes_planned = compare(project, catalog)
    if not changes_planned.version:
        warnings.warn(
            f"project {project.name!r} is not in the catalog ({changes_planned.catalog}); "
            "`headwater apply` adds it",
            UnappliedWarning,
            stacklevel=3,
        )
        return
    live = [stored_view for stored_view in stored(project) if stored_view.view.freshness.streamed]
    streamed = {("source", stored_view.view.source.name) for stored_view in live} | {
        ("view", stored_view.name) for stored_view in live
    }
    differing = [
        f"{change.kind} {change.name}"
        for change in changes_planned.changes
        if (change.kind, change.name) in streamed
    ]
    if differing:
        raise UsageError(
            f"project {project.name!r} differs from the catalog {changes_planned.catalog}: "
            f"{', '.join(differing)}. Run `headwater apply`, or ingest with --allow-unapplied"
        )


def address(text: str) -> tuple[str, int]:
    """HOST:PORT.

    >>> address("127.0.0.1:80"), address("[::1]:80")
    (('127.0.0.1', 80), ('::1', 80))
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"the address is {text!r}; give HOST:PORT, such as {HTTP}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _all(callbacks: list[OnCommit]) -> OnCommit | None:
    def tell(source: Source, committed: Committed, lag: Mapping[str, int]) -> None:
        for callback in callbacks:
            callback(source, committed, lag)

    return tell if callbacks else None
