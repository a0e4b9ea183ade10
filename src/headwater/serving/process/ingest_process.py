"""Ingestion as a process: a store by its URL, a server for pushed events, numbers for watchers, and the catalog's consent."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import settings
from headwater.definitions.project import Project
from headwater.definitions.served_views import stored
from headwater.definitions.source import Source
from headwater.definitions.streams import Pushed
from headwater.errors import UsageError
from headwater.ingestion.committed import Committed
from headwater.ingestion.ingest import OnCommit
from headwater.ingestion.ingest import ingest as run
from headwater.ingestion.source_ingestor import Limits, streamed
from headwater.online_stores import OnlineStore, open_store
from headwater.online_stores.ownership import scoped

if TYPE_CHECKING:
    from headwater.catalog.plan import CatalogLike
    from headwater.serving.process.supervisor_link import Leash

HTTP = "127.0.0.1:8321"


class UnappliedWarning(UserWarning):
    """A project runs that no catalog holds."""


def ingest(  # noqa: PLR0913 (each is a keyword that an operator may need)
    project: Project,
    store: OnlineStore | str | None = None,
    *,
    folder: str | PathLike[str] | None = None,
    limits: Limits | None = None,
    http: str | None = HTTP,
    tokens: str | PathLike[str] | None = None,
    metrics_port: int | None = None,
    once: bool = False,
    catalog: CatalogLike | None = None,
    allow_unapplied: bool = False,
    stop: threading.Event | None = None,
    on_commit: OnCommit | None = None,
    supervised: Leash | None = None,
    shared: bool = False,
) -> None:
    """Read the streams of a project into its online store: what `headwater ingest` does, until `stop` is set.

    Args:
        project: its streaming views are kept up to date.
        store: an online store, or its URL; None takes HEADWATER_STORE, else LMDB in headwater's home.
        folder: where accepted events (`archive`) and refused records (`dead_letters`) are kept; None is headwater's home.
        limits: how records become commits.
        http: HOST:PORT at which pushed events are received, where a source is `hw.push()`; None leaves those sources to another process.
        tokens: the file of tokens, which senders of pushed events need as those of `headwater serve` do; None takes `tokens.json` in
            headwater's home. Where there is none, this machine alone may push here, and others through `headwater serve`.
        metrics_port: of 127.0.0.1, for Prometheus; None shows none.
        once: end when everything that the streams hold has been committed; pushed sources hold nothing.
        catalog: as for `plan`.
        allow_unapplied: run what the catalog does not hold as it is.
        stop: ends it after the commit under way.
        shared: keep the project's data in a store that belongs to another project, beside that one's; needed once.
        on_commit: called after each commit with the source, the commit, and what is left to read by partition.
        supervised: for a child of `headwater serve --ingest`, what ties it to the service, whose /metrics then shows its metrics.

    Raises:
        UsageError: no view is streaming, the catalog holds other definitions, or an address is taken.
        DefinitionError: a streaming view that cannot be fed.
        StoreError: the store cannot be written, belongs to another project, or another process ingests into it.
        RetentionError: a stream no longer has what is to be read next; `Limits(accept_loss=True)` goes on without.
        ConnectError: a stream does not answer.
    """
    if not allow_unapplied:
        check_applied(project, catalog)
    pushed = any(isinstance(source.stream, Pushed) for source in streamed([one.view for one in stored(project)]))
    with ExitStack() as stack:
        told = [on_commit] if on_commit is not None else []
        if metrics_port is not None or supervised is not None:
            from headwater.serving.metrics.ingest_metrics import Metrics
            from headwater.serving.metrics.process_metrics import families

            metrics = Metrics()
            told.append(metrics.committed)
            if metrics_port is not None:
                stack.enter_context(metrics.served(metrics_port))
            if supervised is not None:
                supervised.report(lambda: families(metrics.registry.collect()))
                stack.callback(supervised.let_go)
        receive = None
        if pushed and http is not None and not once:
            from headwater.serving.http.event_receiver import receiver

            home = settings.home() / "tokens.json"
            known = Path(tokens) if tokens is not None else home if home.exists() else None
            receive = receiver(*address(http), known)
        url = settings.store() if store is None else store
        opened = open_store(url) if isinstance(url, str) else url
        if isinstance(url, str):
            stack.callback(opened.close)
        run(
            project,
            scoped(opened, project.name, write=True, shared=shared),
            folder=Path(folder) if folder is not None else settings.home(),
            limits=limits,
            receive=receive,
            once=once,
            stop=stop,
            on_commit=_all(told),
        )


def check_applied(project: Project, catalog: CatalogLike | None) -> None:
    """Refuse to ingest for definitions that the catalog holds otherwise; warn where it holds none.

    Raises:
        UsageError: a streaming view or its source is another one in the catalog, or in none.
    """
    from headwater.catalog.plan import plan

    made = plan(project, catalog)
    if not made.version:
        warnings.warn(
            f"project {project.name!r} is in no catalog ({made.catalog}); `headwater apply` keeps what pipelines run",
            UnappliedWarning,
            stacklevel=3,
        )
        return
    live = [one for one in stored(project) if one.view.freshness.streamed]
    mine = {("source", one.view.source.name) for one in live} | {("view", one.name) for one in live}
    other = [f"{change.kind} {change.name}" for change in made.changes if (change.kind, change.name) in mine]
    if other:
        raise UsageError(
            f"project {project.name!r} differs from what was applied to the catalog {made.catalog}: {', '.join(other)}. Run `headwater apply`, or "
            "ingest for it as it is with --allow-unapplied"
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


def _all(told: list[OnCommit]) -> OnCommit | None:
    def tell(source: Source, committed: Committed, lag: Mapping[str, int]) -> None:
        for one in told:
            one(source, committed, lag)

    return tell if told else None
