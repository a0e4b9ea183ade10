"""Bootstrap of a change feed: merge all change images of a history and an archive, and compute the per-event state to store."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from headwater.errors import DataError
from headwater.events.change_images import folded
from headwater.events.read_events import BEFORE
from headwater.events.selection import IDENT, KNOWN, TIME
from headwater.ingestion.change_state import ChangeState, entries_of, latest_of, tokens_of
from headwater.ingestion.validate import Acceptance
from headwater.state.view_tiles import ViewTiles


def images_before(acceptance: Acceptance, until: int) -> pl.DataFrame:
    """The images of a source's history that were known by `until`, as `Acceptance.events_in` gives them, without those of later events.

    Raises:
        DataError: an image without an id, or not said to be before or after a change.
    """
    source = acceptance.source
    images = acceptance.events_in(source).filter(
        pl.col(KNOWN) <= until, pl.col(BEFORE) | (pl.col(TIME) >= until).not_().fill_null(value=True)
    )
    for name, called in ((IDENT, source.id_field), (BEFORE, source.changes)):
        if images[name].null_count():
            raise DataError(
                f"source {source.name!r}: {images[name].null_count()} rows have no {called!r}; fill it in select, or filter them out"
            )
    return images


class ChangeHistory:
    """All images of the past, and the events that they state.

    T: events that no window reaches as of then are left out.
    """

    def __init__(self, corrections: ChangeState, images: pl.DataFrame, T: int) -> None:
        self.corrections, self.images = corrections, images
        source = corrections.acceptance.source
        self.merged = folded(images[:0], np.empty(0, np.bool_), images, source)
        self.tokens = dict(zip(self.merged.event.tolist(), tokens_of(images[IDENT]), strict=True))
        self.latest, lasting = latest_of(images, self.merged), corrections.lasting
        self.events = np.flatnonzero(self.latest + lasting > T) if lasting is not None else np.arange(len(self.latest))

    def __len__(self) -> int:
        return len(self.events)

    def parts(self, tiles: ViewTiles, most: int) -> Iterator[tuple[pl.DataFrame, dict[bytes, bytes | None]]]:
        """The events that hold, `most` in a part, and what the store is to keep of them and where they stand in a view."""
        for first in range(0, len(self.events), most):
            chunk = self.events[first : first + most]
            entries = entries_of(self.images, self.merged, chunk, self.latest)
            changes = self.corrections.entry((self.tokens[event], entry) for event, entry in entries.items())
            changes |= self.corrections.schedule_expiry(
                [self.tokens[event] for event in chunk.tolist()], int(self.latest[chunk].max()), first
            )
            live = chunk[self.merged.after[chunk] >= 0]
            events = self.images[self.merged.after[live]]
            changes |= dict.fromkeys(self.corrections.places(tiles, events, [self.tokens[event] for event in live.tolist()]), b"")
            yield events, changes
