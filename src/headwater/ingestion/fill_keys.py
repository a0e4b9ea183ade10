"""Fill the records of some keys: they are made again of the past, while the stream goes on.

Each commit expects the progress of the source and the records as they were read. Where the stream
was committed meanwhile, it is paused, its new events are added from the archive, and the commit is
tried again: each try reads less than the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
import polars as pl

from headwater.events.read_events import TIME
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.past_events import FillParts, Logs, Past, stream_start
from headwater.state.record import with_section
from headwater.state.view_state import (
    ViewTiles,
    encoded,
    out_of_reach,
    read_part,
)
from headwater.stores import Changes, keyspace

_KEYS: Final = 100_000  # of one reading of the past

_FILLED_AT_ONCE: Final = 10_000  # of one commit


def fill_keys(
    writer: PartitionWriter, logs: Logs, wanted: Sequence[tuple[ViewTiles, Sequence[bytes]]]
) -> None:
    """Make the records of some keys of views again, as of the last commit.

    Views that are not whole are left out: they are filled when ingestion starts. Where the archive
    lacks rows that were accepted, views are incomplete until their longest window has passed.

    Raises:
        FencedError: the stream was committed in the middle of each attempt.
        LostError: the store has lost commits.
    """
    past = Past(writer, logs, stream_start(writer.store, writer.source.name), replayed=False)
    for tiles, keys in wanted:
        if read_part(writer.store, tiles.view.tiles_fingerprint, writer.partition) is None:
            continue
        for first in range(0, len(keys), _KEYS):
            _Sections(writer, past, tiles, keys[first : first + _KEYS]).fill()


class _Sections:
    """A view's sections of some keys, made of the events that commits up to `upto` accepted; -1 is
    nothing, not even the history.
    """

    def __init__(
        self, writer: PartitionWriter, past: Past, tiles: ViewTiles, keys: Sequence[bytes]
    ) -> None:
        self.writer, self.past, self.tiles, self.upto = writer, past, tiles, -1
        self.sections = dict.fromkeys(keys, b"")

    def fill(self) -> None:
        """Make them, and write them."""
        keys = list(self.sections)
        for first in range(0, len(keys), _FILLED_AT_ONCE):
            self.writer.repair(partial(self._write, keys[first : first + _FILLED_AT_ONCE]))

    def _write(self, keys: Sequence[bytes]) -> None:
        self._catch_up()
        self._commit(keys)

    def _catch_up(self) -> None:
        """Add the events accepted since. Images take back earlier images, so their sections are
        made again from all.
        """
        progress = self.writer.progress
        if self.upto == progress.sequence:
            return
        if self.writer.corrections is not None:
            self.sections, self.upto = dict.fromkeys(self.sections, b""), -1
        self._add(self.past.parts(self.tiles, progress.at, self.upto, progress.sequence))
        self.upto = progress.sequence

    def _add(self, parts: FillParts) -> None:
        sections = self.sections

        def fetch(keys: list[bytes]) -> list[bytes]:
            return [sections[key] for key in keys]

        for part in parts.read():
            events = self.past.events_of(part).filter(pl.col(TIME) < parts.T)
            keyed, number, keys = self.tiles.keyed(events)
            is_wanted = pl.Series([key in sections for key in keys], dtype=pl.Boolean)
            added = keyed.filter(is_wanted.gather(number))
            if added.height:
                sections |= self.tiles.update(added, parts.T, parts.upto, fetch)

    def _commit(self, keys: Sequence[bytes]) -> None:
        """Write some of them, with the records' other sections."""
        writer, view = self.writer, self.tiles.view
        places = keyspace.places(view.record_group, keys, writer.partition)
        records = dict(zip(places, writer.store.get(places), strict=True))
        changes: dict[bytes, bytes | None] = {
            record_key: with_section(
                records[record_key], view.tiles_fingerprint, self.sections[key]
            )
            or None
            for record_key, key in zip(places, keys, strict=True)
        }
        # another progress, so that a commit that has read the records of before is refused
        counts = Counter(writer.progress.counts) + Counter({"refills": 1})
        progress = msgspec.structs.replace(writer.progress, counts=dict(counts))
        writer.note(progress, {**changes, **self._incomplete()}, {**writer.unmoved(), **records})

    def _incomplete(self) -> Changes:
        """The view's state, where the archive lacks rows that were accepted."""
        writer, view = self.writer, self.tiles.view
        state = read_part(writer.store, view.tiles_fingerprint, writer.partition)
        if state is None or not self.past.is_missing:
            return {}
        lacking = out_of_reach(view, writer.progress.at)
        return {
            keyspace.stream_state(view.tiles_fingerprint, writer.partition): encoded(
                msgspec.structs.replace(state, complete_from=max(state.complete_from, lacking))
            )
        }
