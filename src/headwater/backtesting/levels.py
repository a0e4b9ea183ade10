"""The features and scores of each level."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from headwater.backtesting.result import Kind
from headwater.compute.arrays import F64, I64, Bool
from headwater.compute.as_of import NEVER, as_of
from headwater.definitions.aggregation import count
from headwater.definitions.durations import SECOND
from headwater.definitions.feature_service import FeatureService, Member
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.freshness import Batch, Freshness, Never
from headwater.definitions.level import Level, ladder
from headwater.definitions.model import Model, Precomputed
from headwater.definitions.request_feature import RequestFeature
from headwater.definitions.sizes import Size
from headwater.engines.events import Notes
from headwater.errors import UsageError, nearest
from headwater.pipelines.historical import feature_frames
from headwater.pipelines.means import Means, Tick
from headwater.pipelines.requests import Requests


@dataclass(frozen=True)
class LevelRows:
    """One level over all requests: its features, which requests it can answer: bool (rows), and what to say of it."""

    frame: pl.DataFrame
    answered: Bool
    note: str = ""


def resolve_levels(levels: Mapping[str, Level] | None) -> dict[str, Level]:
    """The levels to compare, in order from stale to fresh; the usual ladder where none are given."""
    if levels is None:
        return ladder()
    if not isinstance(levels, Mapping) or not levels:
        raise UsageError("levels is a mapping from names to Levels, such as {'daily': hw.Level(hw.batch('1d'))}; at least one")
    for name, level in levels.items():
        if not isinstance(level, Level):
            raise UsageError(f"level {name!r} is {level!r}; wrap a freshness in hw.Level(...)")
    return dict(levels)


def level_rows(
    model: Model,
    requests: Requests,
    levels: Mapping[str, Level],
    notes: Notes,
    *,
    threads: int | None,
    memory: Size | None = None,
    tick: Tick | None,
) -> dict[str, LevelRows]:
    """The features of every level; those that predict on request share one pass."""
    plain = {name: level for name, level in levels.items() if level.scoring(model) is None}
    found = {}
    if plain:
        reads = any(level.reads_history(model) for level in plain.values())
        # Where no event can count, no file is touched.
        service = model.features if reads else model.features.over(lambda source: dataclasses.replace(source, history=None))
        frames = feature_frames(service, requests, plain, notes, Means(threads, memory, tick))
        found = {name: LevelRows(frame, np.ones(len(requests.t), np.bool_)) for name, frame in frames.items()}
    for name, level in levels.items():
        scoring = level.scoring(model)
        if scoring is not None:
            found[name] = _precomputed(model, requests, level, scoring, notes, threads, memory, tick)
    return {name: found[name] for name in levels}


def reading(model: Model, level: Level, t: I64) -> tuple[Sequence[FeatureView], Level, I64]:
    """The views that a level reads, how fresh they are when they are asked for, and when that is: int64 (rows).

    Predictions on request ask for all views with the request. Those made ahead ask at their cut, for the views of their keys. The
    job publishes its scores `delay` after the cut, and until then can wait for features of the same cut to be published:
    batch features whose delay is no longer than its own are those of the cut itself, not of the one before.
    """
    scoring = level.scoring(model)
    if scoring is None:
        return model.features.views_in_history, level, t
    views = [v for v in model.features.views if all(v.request_key(key) in scoring.keys for key in v.keys)]
    T, K = as_of(scoring.freshness, t)
    fresh = {v: _by_the_cut(level.freshness(v), scoring.freshness) for v in views}
    return views, Level(fresh, known_after=level.known_after), np.minimum(T, K)


def _by_the_cut(freshness: Freshness, scoring: Freshness) -> Freshness:
    if not (isinstance(freshness, Batch) and isinstance(scoring, Batch)):
        return freshness
    delay = max(freshness.delay - scoring.delay, 0)
    return dataclasses.replace(freshness, delay=delay, wait=min(freshness.wait, delay))


def _precomputed(
    model: Model,
    requests: Requests,
    level: Level,
    scoring: Precomputed,
    notes: Notes,
    threads: int | None,
    memory: Size | None,
    tick: Tick | None,
) -> LevelRows:
    """What a job sees that scores at the cut: views of the keys alone, as of the cut; keys without an event by then have no score."""
    if isinstance(scoring.freshness, Never):
        raise UsageError(f"model {model.name!r}: precomputed(never()) makes no predictions; give the batch(...) that makes them")
    views, fresh, cut = reading(model, level, requests.t)
    by_key = {key: [v for v in views if key in map(v.request_key, v.keys)] for key in scoring.keys}
    for key, found in by_key.items():
        if not found:
            columns = {c for v in model.features.views for c in map(v.request_key, v.keys) if isinstance(c, str)}
            raise UsageError(
                f"model {model.name!r}: predictions are made ahead for {list(scoring.keys)}, and no view of these keys alone has the key "
                f"{key!r}, so nothing says which are known; {nearest(key, columns)}"
            )
    members = [m for m in model.features.features if _made_ahead(m, views)]
    keyed = {v.name: v for found in by_key.values() for v in found}
    seen = {name: f"seen_by_cut_{i}" for i, name in enumerate(keyed)}
    counts = [
        FeatureView(
            seen[v.name], source=v.source, keys=v.keys, features=[count()], freshness=fresh.freshness(v), request_keys=v.request_keys
        )
        for v in keyed.values()
    ]
    at_cut = Requests(requests.frame, cut)
    # The same freshness under the counts' own names: a level speaks of views.
    at = Level({v: fresh.freshness(v) for v in views} | {v: v.freshness for v in counts}, known_after=level.known_after)
    service = FeatureService("precomputed", [*members, *counts])
    frame = feature_frames(service, at_cut, {"": at}, notes, Means(threads, memory, tick))[""]
    known = frame.select(
        pl.all_horizontal(pl.any_horizontal(pl.col(f"{seen[v.name]}__count") > 0 for v in found) for found in by_key.values())
    )
    frame = frame.drop([f"{name}__count" for name in seen.values()])
    left = [name for name in model.features.feature_names if name not in frame.columns]
    note = f"made ahead without {len(left)} of {len(model.features.feature_names)} features: {', '.join(left[:6])}" if left else ""
    return LevelRows(frame, known.to_series().to_numpy(), note + (", ..." if len(left) > 6 else ""))


def _made_ahead(member: Member, views: Sequence[FeatureView]) -> bool:
    """Whether a job knows this feature: it reads these views alone, and no field of a request."""
    if isinstance(member, RequestFeature):
        return not member.fields and bool(member.inputs) and all(ref.view in views for ref in member.inputs.values())
    return (member.view if isinstance(member, FeatureRef) else member) in views


def mean_age(model: Model, level: Level, t: I64) -> float | None:
    """The mean of t - K over these requests and the views that read history, in seconds; None where none does.

    Without what third parties are asked for with the request.

    Args:
        t: int64 (rows), when the requests ask.
    """
    views, fresh, asked = reading(model, level, t)
    views = [v for v in views if v.third_party is None]
    known = {f.fingerprint: as_of(f, asked)[1] for v in views if not isinstance(f := fresh.freshness(v), Never)}
    ages = []
    for view in views:
        K = known.get(fresh.freshness(view).fingerprint)
        if K is not None and (live := K > NEVER).any():
            ages.append(float((t[live] - K[live]).mean()) / SECOND)
    return float(np.mean(ages)) if ages else None


def kind(level: Level, model: Model) -> Kind:
    """Batch or real-time, by the one-hour rule."""
    return cast("Kind", level.kind(model))


def filled(scores: F64, answered: Bool, default: float) -> F64:
    """Scores with the default where the level has no answer, so that every level is judged on every request."""
    return np.where(answered, scores, default)
