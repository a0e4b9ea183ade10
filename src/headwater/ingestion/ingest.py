"""Ingestion: each source has a thread that reads and decodes its stream, and a thread that commits
what it brings in micro-batches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

from headwater.definitions.checks import micros
from headwater.definitions.connectors import Pushed
from headwater.definitions.project import Project, stored
from headwater.definitions.spark_stream import SparkStream
from headwater.errors import StoreError, UsageError
from headwater.ingestion.broker_clock import BrokerClocks
from headwater.ingestion.clock_check import ClockCheck
from headwater.ingestion.commit_source import OnCommit, commit_all
from headwater.ingestion.read_source import SourceReader
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor, streamed
from headwater.ingestion.sources.http_inbox import Inbox
from headwater.ingestion.stand_by import stand_by
from headwater.stores import OnlineStore, ingest_lease, keyspace
from headwater.stores.keyspace import environment, own_views, scoped

Receive = Callable[[Mapping[str, Inbox]], AbstractContextManager[tuple[bytes, bytes]]]
"""Receives events for inboxes, by the names of their sources, while the context lasts; gives its
address, and the secret that admits.
"""


def ingest(
    project: Project,
    store: OnlineStore,
    *,
    data_dir: Path | None,
    limits: IngestLimits | None = None,
    receive: Receive | None = None,
    once: bool = False,
    stop: threading.Event | None = None,
    on_commit: OnCommit | None = None,
) -> None:
    """Read the streams of a project into its online store, until `stop` is set.

    Args:
        project: its streaming views are kept up to date.
        store: where to.
        data_dir: where accepted events are archived, and refused records kept; None keeps neither.
        limits: how records become commits.
        receive: what receives pushed events; without it, sources with `stream=hw.push()` are left
            out.
        once: end when everything that the streams hold has been committed.
        stop: ends it after the commit under way.
        on_commit: called after each commit.

    Raises:
        UsageError: no view of the project is streaming, or Spark commits all of them.
        DefinitionError: a streaming view that cannot be fed.
        StoreError: the store cannot be written, or another process ingests into it.
        RetentionError: a stream no longer has the next record.
        ConnectError: a stream does not answer.
        ClockError: the wall clock cannot be right, with `once`; without, ingestion waits until it
            is.
    """
    limits, stop = limits or IngestLimits(), stop or threading.Event()
    store = scoped(store, project.name, write=True)
    every = stored(project)
    sources = streamed([stored_view.view for stored_view in own_views(store, every)])
    if not sources and streamed([stored_view.view for stored_view in every]):
        raise UsageError(
            f"every streaming view of project {project.name!r} is read from production; there is "
            "nothing to ingest"
        )
    if not sources:
        raise UsageError(
            f"project {project.name!r} has no streaming view; give one freshness=hw.streaming('2s')"
        )
    sources = {
        source: views
        for source, views in sources.items()
        if not isinstance(source.stream, SparkStream)
    }
    if not sources:
        raise UsageError(
            f"every stream of project {project.name!r} is a query of Spark, which commits its "
            "batches itself (headwater_spark.commit_batches); there is nothing to ingest"
        )
    pushed = [source for source in sources if isinstance(source.stream, Pushed)]
    if receive is None and len(pushed) == len(sources) and not once:
        raise UsageError(
            f"every stream of project {project.name!r} is pushed, and nothing receives; give an "
            "address, as --listen does"
        )
    with ExitStack() as stack:
        if not stand_by(
            stack, lambda wait: ingest_lease(store, wait=wait), stop, limit=limits.wait
        ):
            return
        brokers = stack.enter_context(
            BrokerClocks(
                store, list(sources), wanted=limits.broker_clock and environment(store) is None
            )
        )
        check = ClockCheck(
            micros(limits.max_clock_jump, "max_clock_jump"), store.server_time, brokers=brokers
        )
        # others receive for them; their views are filled here all the same
        left = [] if receive is not None else pushed
        ingestors = [
            SourceIngestor(
                source, views, store, data_dir, limits, filled=source in left, goes_on=not once
            )
            for source, views in sources.items()
        ]
        for ingestor in ingestors:
            stack.callback(ingestor.close)
        if receive is not None and pushed:
            stack.enter_context(
                _receiving(
                    receive,
                    [ingestor for ingestor in ingestors if ingestor.source in pushed],
                    store,
                )
            )
        read = [ingestor for ingestor in ingestors if ingestor.source not in left]
        readers = stack.enter_context(
            _reading([SourceReader(ingestor, stop, once) for ingestor in read], stop)
        )
        brokers.wait()
        commit_all(readers, check, stop, on_commit)
        for ingestor in ingestors:
            ingestor.roll(least=1)
        for reader in readers:
            reader.rolled.set()


@contextmanager
def _receiving(
    receive: Receive, ingestors: Sequence[SourceIngestor], store: OnlineStore
) -> Iterator[None]:
    """Receive events, from when this process writes one of their sources; the store says where, for
    each source that it writes.
    """
    inboxes = {ingestor.source.name: Inbox(ingestor.source) for ingestor in ingestors}
    turn, received = threading.Lock(), list[tuple[bytes, bytes]]()
    with ExitStack() as server:

        @contextmanager
        def received_here(source: str) -> Iterator[None]:
            with turn:
                if not received:
                    received.append(server.enter_context(receive(inboxes)))
            here = dict(zip(keyspace.receiver(store.namespace + source), received[0], strict=True))
            store.commit(here, {})
            try:
                yield
            finally:
                # another process writes the source, or the address is found not to answer
                with suppress(StoreError):
                    store.commit(dict.fromkeys(here), here)

        for ingestor in ingestors:
            ingestor.inbox = inboxes[ingestor.source.name]
            ingestor.received_here = partial(received_here, ingestor.source.name)
        try:
            yield
        finally:
            for inbox in inboxes.values():
                inbox.give_up(close=True)


@contextmanager
def _reading(readers: list[SourceReader], stop: threading.Event) -> Iterator[list[SourceReader]]:
    """Threads that read; all have ended when the context does."""
    for reader in readers:
        reader.start()
    try:
        yield readers
    finally:
        stop.set()
        for reader in readers:
            reader.rolled.set()
            reader.ingestor.close()
            thread = cast("threading.Thread", reader.thread)
            while thread.is_alive():
                reader.work.drain()
                thread.join(0.05)
