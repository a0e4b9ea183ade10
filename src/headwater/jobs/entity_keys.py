"""The keys that a job can score at a cut: keys with an event known by then, and when each was last
seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import polars as pl

from headwater.definitions.feature_view import FeatureView
from headwater.definitions.level import Level
from headwater.definitions.model import Model, Precomputed
from headwater.engine.engines import open_engine
from headwater.engine.query import Engine, EngineRun, EventQuery
from headwater.errors import DataError, UsageError
from headwater.events.read_events import TIME, Notes, Reach
from headwater.kernel.as_of import as_of
from headwater.training.feature_frames import tables
from headwater.training.precomputed_rows import keyed_views, reading
from headwater.training.resources import Resources

SEEN = "__seen"
"""When a key's last event happened, int64 microseconds."""

_MOST = 200_000_000  # pairs that are still scored without being listed


def known_keys(
    model: Model,
    level: Level,
    t: int,
    listed: pl.DataFrame | None = None,
    engine: Engine | str | None = None,
) -> pl.DataFrame:
    """The keys that a job scores whose cut is the one to be read at `t`: the columns of
    `precomputed(keys=)`, sorted, and SEEN.

    A few more than `precomputed_rows` knows of may be among them, where copies of an event name
    other keys; never fewer.

    Args:
        model: with precomputed scores at the level.
        level: the level.
        t: int64 microseconds.
        engine: as of `open_engine`.
        listed: only these keys; SEEN is null for those that no event is known of.

    Raises:
        UsageError: no view tells which keys are known, or there are too many pairs of them.
        DataError: a history that cannot be read, or a list without one of the columns.
    """
    precomputed = level.precomputed(model)
    assert precomputed is not None
    by_key = keyed_views(model, precomputed)
    _, fresh, (cut,) = reading(model, level, np.array([t]))
    views = {v.name: v for key_frames in by_key.values() for v in key_frames}
    seen = {name: _seen(view, fresh, int(cut), engine) for name, view in views.items()}
    start = None if listed is None else _unique(listed, precomputed)
    ways = dict.fromkeys(
        frozenset(v.name for v in way) for way in itertools.product(*by_key.values())
    )
    key_frames = [_together([seen[name] for name in way], start, precomputed) for way in ways]
    keys = list(precomputed.keys)
    every = pl.concat(key_frames, how="vertical_relaxed").group_by(keys).agg(pl.col(SEEN).max())
    if start is not None:
        every = start.join(
            every.with_columns(pl.col(key).cast(start.schema[key]) for key in keys),
            on=keys,
            how="left",
        )
    return every.sort(keys)


def _seen(view: FeatureView, level: Level, cut: int, engine: Engine | str | None) -> pl.DataFrame:
    """The keys of a view as the request names them, each once, and SEEN."""
    freshness = level.freshness(view)
    columns = {key: str(view.request_key(key)) for key in view.keys}
    (T,), (K,) = (times.tolist() for times in as_of(freshness, np.array([cut])))
    if not freshness.reads_events:
        T = K = 0  # nothing is known, and still the columns have types
    enriched = tables(T, K, Notes(), Resources(engine=engine))
    enriched.read(level.source(view), set(view.keys), None)
    source = enriched.readable(level.source(view))
    reach = Reach(None, T, K) if freshness.reads_events else None
    key_rows = (
        open_engine(engine)
        .events(EventQuery(source, view.keys, [], reach, newest=True), EngineRun())
        .rename({TIME: SEEN})
    )
    # two keys that one column fills
    twice = [(a, b) for a, b in itertools.combinations(columns, 2) if columns[a] == columns[b]]
    key_rows = key_rows.filter(pl.col(a) == pl.col(b) for a, b in twice) if twice else key_rows
    return key_rows.select(
        *(
            pl.col(key).alias(name)
            for key, name in {v: k for k, v in {n: k for k, n in columns.items()}.items()}.items()
        ),
        SEEN,
    )


def _together(
    frames: Sequence[pl.DataFrame], start: pl.DataFrame | None, precomputed: Precomputed
) -> pl.DataFrame:
    """The rows of keys that all of these views know, as far as they are listed; SEEN of the one
    that was seen least lately.
    """
    joined, ages = start, []
    for number, frame in enumerate(sorted(frames, key=len)):
        keys_frame = frame.rename({SEEN: f"{SEEN}{number}"})
        ages.append(f"{SEEN}{number}")
        if joined is None:
            joined = keys_frame
            continue
        on = [name for name in frame.columns if name != SEEN and name in joined.columns]
        if not on and joined.height * keys_frame.height > _MOST:
            raise UsageError(
                f"precomputed(keys={list(precomputed.keys)}) would make scores for "
                f"{joined.height:,} x {keys_frame.height:,} pairs of known keys; list those that "
                "are asked for with keys=, or give the model a view by all of these keys"
            )
        joined = (
            joined.join(
                keys_frame.with_columns(pl.col(n).cast(joined.schema[n]) for n in on), on=on
            )
            if on
            else joined.join(keys_frame, how="cross")
        )
    assert joined is not None
    return joined.select(*precomputed.keys, pl.min_horizontal(ages).alias(SEEN))


def _unique(listed: pl.DataFrame, precomputed: Precomputed) -> pl.DataFrame:
    lacking = [key for key in precomputed.keys if key not in listed.columns]
    if lacking:
        raise DataError(
            f"the list of keys has no column {lacking[0]!r}, which "
            f"precomputed(keys={list(precomputed.keys)}) names; it has {listed.columns}"
        )
    return listed.select(precomputed.keys).drop_nulls().unique()
