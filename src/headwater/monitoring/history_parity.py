"""An archive compared with its source's history: what the stream has not brought, or has brought
more often.

Both hold the same events. Compared are those that the history says were known since the stream
began, or the archive does, and until ten minutes before the last commit: later ones may be on their
way. What the history does not have may not have been loaded yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import polars as pl

from headwater import clock
from headwater.definitions.checks import SECOND
from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.events.read_events import IDENT, KNOWN, TIME
from headwater.kernel.as_of import NEVER
from headwater.monitoring.archived_sources import ARCHIVED
from headwater.monitoring.offline_events import Offline
from headwater.state.view_state import StreamStart, progresses
from headwater.stores import keyspace

_SETTLED: Final = 600 * SECOND
_ONLINE, _OFFLINE = "headwater_online", "headwater_offline"
LACKS = "history= has events of the key that the archive lacks"
MORE = "the archive has events of the key more often than history="


@dataclass(frozen=True)
class HistoryParity:
    """differences: of the keys that differ, how many events the archive and the history have, and
    why. findings: the same, in all.
    """

    differences: Sequence[tuple[Mapping[str, Any], int, int, str]] = ()
    findings: Sequence[str] = ()
    notes: Mapping[str, int] = field(default_factory=dict)


def compared_with_history(offline: Offline, T: int, K: int) -> HistoryParity:
    """The archive that `offline` has read, compared with the history of its source, as far as
    windows reach at T. K: known by then.

    Raises:
        DataError: the history cannot be read.
    """
    view, source = offline.view, offline.view.source
    if source.history is None or isinstance(source.history, Enriched) or source.changes is not None:
        return HistoryParity()
    first, last = _begin(offline), K - _SETTLED
    if first is None or last <= first:
        return HistoryParity()
    if erased := sum(
        done.counts.get("erased", 0) for done in progresses(offline.store, source.name).values()
    ):
        return HistoryParity(
            notes={"history= may still have the erased events: it is not compared": erased}
        )
    history = offline.history(T, T, last)
    since = pl.col(KNOWN) if KNOWN in history.columns else pl.col(TIME) + source.delay
    expected = _alike(
        history.filter(since >= first, since <= last, pl.col(TIME) < T).drop_nulls(list(view.keys)),
        offline.archived,
    )
    span = (
        f"that were known from {clock.timestamp(first).isoformat()} to "
        f"{clock.timestamp(last).isoformat()}"
    )
    if source.id_field is not None:
        in_archive = expected.join(
            offline.archived.select(pl.col(IDENT).unique()), on=IDENT, how="semi"
        )
        lacks, more = _fewer(view, in_archive, expected), []
    else:
        archived = offline.archived.filter(
            (pl.col(TIME) >= first - source.delay) & (pl.col(TIME) <= last - source.delay)
        )
        lacks, more = _fewer(view, archived, expected), _repeated(view, archived, expected)
    findings = [
        *(
            [
                (
                    f"missing in the archive, events of history= {span}: {_sum(lacks):,}; the "
                    "stream has not brought them, or they were refused"
                )
            ]
            if lacks
            else []
        ),
        *(
            [
                (
                    f"repeated in the archive, events {span}: {_sum(more):,}; without id_field= "
                    "each copy counts"
                )
            ]
            if more
            else []
        ),
    ]
    return HistoryParity(
        [(*row, LACKS) for row in lacks] + [(*row, MORE) for row in more], findings
    )


def _begin(offline: Offline) -> int | None:
    """Since when the archive has what the stream has brought, microseconds; None where it has
    nothing.
    """
    source, counts = offline.view.source, Counter[str]()
    for done in progresses(offline.store, source.name).values():
        counts.update(done.counts)
    begun = offline.store.get([keyspace.begun(source.name)])[0]
    if (
        begun is not None
        and sum(counts[name] for name in ARCHIVED)
        <= offline.archived.height + offline.repeated.height
    ):
        return msgspec.msgpack.decode(begun, type=StreamStart).until + 1
    known = (
        offline.archived.filter(pl.col(KNOWN) > NEVER)[KNOWN]
        if offline.archived.height
        else pl.Series([], dtype=pl.Int64)
    )
    return int(known.min()) if len(known) else None  # type: ignore[arg-type]


def _alike(history: pl.DataFrame, archived: pl.DataFrame) -> pl.DataFrame:
    """Events of a history in the column types of the archive."""
    types = {
        name: dtype
        for name, dtype in archived.schema.items()
        if name in history.columns and history.schema[name] != dtype
    }
    return history.with_columns(
        pl.col(name).cast(dtype, strict=False) for name, dtype in types.items()
    )


def _fewer(
    view: FeatureView, archived: pl.DataFrame, history: pl.DataFrame
) -> list[tuple[dict[str, Any], int, int]]:
    """The keys that have fewer events in the archive, with how many both have."""
    keys = list(view.keys)
    if not keys:
        return [({}, archived.height, history.height)] if archived.height < history.height else []
    counts = history.group_by(keys).agg(pl.len().cast(pl.Int64).alias(_OFFLINE))
    return _rows(
        counts.join(
            archived.group_by(keys).agg(pl.len().cast(pl.Int64).alias(_ONLINE)), on=keys, how="left"
        ),
        keys,
        less=True,
    )


def _repeated(
    view: FeatureView, archived: pl.DataFrame, history: pl.DataFrame
) -> list[tuple[dict[str, Any], int, int]]:
    """The keys that have events which the history has less often, with how many of these both
    have.
    """
    keys = list(view.keys)
    event = [
        name
        for name, dtype in archived.schema.items()
        if name in history.columns and name != KNOWN and not dtype.is_nested()
    ]
    counts = history.group_by(event).agg(pl.len().cast(pl.Int64).alias(_OFFLINE))
    twice = counts.join(
        archived.group_by(event).agg(pl.len().cast(pl.Int64).alias(_ONLINE)),
        on=event,
        nulls_equal=True,
    )
    twice = twice.filter(pl.col(_ONLINE) > pl.col(_OFFLINE)).select(*keys, _OFFLINE, _ONLINE)
    if not keys:
        return [({}, int(twice[_ONLINE].sum()), int(twice[_OFFLINE].sum()))] if twice.height else []
    return _rows(twice.group_by(keys).sum(), keys, less=False)


def _rows(
    counts: pl.DataFrame, keys: Sequence[str], *, less: bool
) -> list[tuple[dict[str, Any], int, int]]:
    online, offline = pl.col(_ONLINE).fill_null(0), pl.col(_OFFLINE)
    differing = (
        counts.with_columns(online)
        .filter(online < offline if less else online > offline)
        .sort(keys)
    )
    return [
        ({key: row[key] for key in keys}, row[_ONLINE], row[_OFFLINE])
        for row in differing.iter_rows(named=True)
    ]


def _sum(rows: Sequence[tuple[dict[str, Any], int, int]]) -> int:
    return sum(abs(offline - online) for _, online, offline in rows)
