"""The memory that ids of events need where a stream is ingested: the ids of one `id_horizon`, at
the rate of the source's history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import polars as pl

from headwater.catalog.lint import Lint
from headwater.definitions.checks import Size, in_bytes, micros, size_text, text
from headwater.definitions.project import Project, stored
from headwater.definitions.source import Source
from headwater.errors import HeadwaterError, listed
from headwater.events.read_events import TIME, arrived, called, collect

ID_MEMORY: Final = "id-memory"
"""The rule of a plan whose ids need more memory than is given."""
BYTES_PER_ID: Final = 32
"""At most: a hash of 128 bits, the commit that it was known at, a hash of the content, and free
places of the tables.
"""
_RATE: Final = 1_000  # events a second, assumed for the memory where no rate is known


class IdMemory(NamedTuple):
    """What a source's ids need: bytes, None where no rate is known; and that in words."""

    bytes: int | None
    words: str


def id_memory(project: Project) -> dict[str, IdMemory]:
    """By name, what the ids of each source need that streaming views are ingested from; the times
    of its history are read.

    Events with `changes=` are not among them: their ids are looked up in the store.
    """
    sources = dict.fromkeys(
        view.view.source for view in stored(project) if view.view.freshness.streamed
    )
    return {
        source.name: _of_source(source)
        for source in sources
        if source.id_field is not None and source.changes is None and source.stream is not None
    }


def refusals(needs: Mapping[str, IdMemory], memory: Size | None) -> tuple[Lint, ...]:
    """Why ids do not fit into `memory` together; nothing where they do, or no memory is given.

    Raises:
        UsageError: `memory` is not a size.
    """
    limit = None if memory is None else in_bytes(memory, "memory")
    sizes = {name: need.bytes for name, need in needs.items() if need.bytes is not None}
    total = sum(sizes.values())
    if limit is None or total <= limit:
        return ()
    by_source = listed([f"{name} {size_text(size)}" for name, size in sizes.items()])
    parts = f" ({by_source})" if len(sizes) > 1 else ""
    message = f"ids need {size_text(total)} of memory{parts}, and memory is {size_text(limit)}"
    remedy = "Give a shorter id_horizon, or ingest with more memory"
    return (Lint(ID_MEMORY, "refused", f"source {', '.join(sizes)}", message, remedy),)


def _of_source(source: Source) -> IdMemory:
    """By the events of its history that pass its filter, in the time from the first to the last."""
    horizon = micros(source.id_horizon, "id_horizon")
    rate, why = _rate(source)
    if rate is None:
        bytes_of = size_text(round(_RATE * horizon / 1e6) * BYTES_PER_ID)
        return IdMemory(
            None,
            f"each id needs {BYTES_PER_ID} bytes of memory for {text(horizon)} (id_horizon): "
            f"{bytes_of} at {_RATE:,} events/s. {why}, so its rate is not known",
        )
    ids = max(round(rate * horizon / 1e6), 1)
    size = ids * BYTES_PER_ID
    return IdMemory(
        size,
        f"its ids need {size_text(size)} of memory: {rate:,.4g} events/s in its history x "
        f"{text(horizon)} (id_horizon) x {BYTES_PER_ID} bytes",
    )


def _rate(source: Source) -> tuple[float | None, str]:
    """Events a second; or why that is not known."""
    if source.history is None:
        return None, "It has no history"
    try:
        times = pl.col(TIME).filter(pl.col(TIME).is_not_null())
        aggregates = [times.len().alias("n"), times.min().alias("first"), times.max().alias("last")]
        count, first, last = collect(
            arrived(source, [], [], []).select(aggregates), called(source), streaming=True
        ).row(0)
    except HeadwaterError:
        return None, "Its history cannot be read"
    if count < 2 or first == last:
        return None, "Its history has no two events of different times"
    return count / ((last - first) / 1e6), ""
