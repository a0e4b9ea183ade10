"""Feeds of streams with calls that a `faults.Watch` sees; they replace the entries of the table
that plugins extend.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from headwater.definitions.source import Source, bottom_of
from headwater.errors import ConnectError
from headwater.ingestion.sources.stream_reader import FEEDS, Feed, Position, RecordBatch
from headwater.testing.call_watch import CallWatch

# the watch, and the modules that open feeds
_watched: list[tuple[CallWatch, Mapping[str, str]]] = []


@contextmanager
def watched_streams(watch: CallWatch) -> Iterator[None]:
    """See `faults.Watch.streams`."""
    modules = dict(FEEDS.items())
    _watched.append((watch, modules))
    FEEDS.update(dict.fromkeys(modules, __name__))
    try:
        yield
    finally:
        FEEDS.update(modules)
        _watched.pop()


def open_feed(source: Source, *more: object) -> Feed:
    """See `stream_reader.open_feed`."""
    watch, modules = _watched[-1]
    module = importlib.import_module(modules[type(bottom_of(source).stream).__name__])
    return FaultyFeed(
        watch.make(
            "stream",
            "open",
            lambda: module.open_feed(source, *more),
            ConnectError,
            undo=lambda feed: feed.close(),
        ),
        watch,
    )


class FaultyFeed:
    """See `Feed`. How often a stream is asked before something comes depends on time, so polls that
    bring nothing are one call.
    """

    def __init__(self, feed: Feed, watch: CallWatch) -> None:
        self.watched, self._watch, self._waits = feed, watch, False

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """See `Feed`."""

        def poll() -> RecordBatch | None:
            return self.watched.poll(most, timeout)

        records = (
            poll()
            if self._waits
            else self._watch.make("stream", "poll", poll, ConnectError, changes=False)
        )
        self._waits = records is None
        return records

    def lag(self) -> Mapping[str, int]:
        """See `Feed`; no call."""
        return self.watched.lag()

    def elsewhere(self) -> int:
        """See `Feed`; no call."""
        return self.watched.elsewhere()

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """See `Feed`; how often depends on time, so it is not a call."""
        self.watched.acknowledge(positions)

    def close(self) -> None:
        """See `Feed`; no call."""
        self.watched.close()
