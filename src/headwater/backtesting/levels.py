"""The features and scores of each level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from headwater.backtesting.result import Kind
from headwater.compute.arrays import F64, Bool
from headwater.compute.as_of import NEVER, as_of
from headwater.definitions.aggregation import count
from headwater.definitions.durations import SECOND
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.freshness import Never
from headwater.definitions.level import Level, ladder
from headwater.definitions.model import Model, Precomputed
from headwater.engines.events import Notes
from headwater.errors import UsageError
from headwater.pipelines.historical import Tick, feature_frames
from headwater.pipelines.requests import Requests


@dataclass(frozen=True)
class LevelRows:
    """One level over all requests: its features, and which requests it can answer: bool (rows)."""

    frame: pl.DataFrame
    answered: Bool


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
    model: Model, requests: Requests, levels: Mapping[str, Level], notes: Notes, *, threads: int | None, tick: Tick | None
) -> dict[str, LevelRows]:
    """The features of every level; those that predict on request share one pass."""
    plain = {name: level for name, level in levels.items() if level.scoring(model) is None}
    found = {}
    if plain:
        frames = feature_frames(model.features, requests, plain, notes, threads=threads, tick=tick)
        found = {name: LevelRows(frame, np.ones(len(requests.t), np.bool_)) for name, frame in frames.items()}
    for name, level in levels.items():
        scoring = level.scoring(model)
        if scoring is not None:
            found[name] = _precomputed(model, requests, level, scoring, notes, threads, tick)
    return {name: found[name] for name in levels}


def _precomputed(
    model: Model, requests: Requests, level: Level, scoring: Precomputed, notes: Notes, threads: int | None, tick: Tick | None
) -> LevelRows:
    """What a job sees that scores at the cut: views of the keys alone, as of the cut; keys without an event by then have no score."""
    views = [v for v in model.features.views if _within(v, scoring.keys)]
    if not views:
        raise UsageError(
            f"model {model.name!r}: no view has only the keys {list(scoring.keys)}, so nothing can be precomputed for them; "
            f"its views are keyed by {sorted({', '.join(map(str, (v.request_key(k) for k in v.keys))) for v in model.features.views})}"
        )
    keyed = [v for v in views if v.keys] or views
    seen = [
        FeatureView(f"seen{i}", source=v.source, keys=v.keys, features=[count()], freshness=level.freshness(v), request_keys=v.request_keys)
        for i, v in enumerate(keyed)
    ]
    members = [m for m in model.features.features if _view(m) in views]
    cut, _ = as_of(scoring.freshness, requests.t)
    at_cut = Requests(requests.frame, cut)
    frames = feature_frames(
        FeatureService("precomputed", [*members, *seen]),
        at_cut,
        {"": Level(level.features, known_after=level.known_after)},
        notes,
        threads=threads,
        tick=tick,
    )
    frame = frames[""]
    known = frame.select(pl.any_horizontal(pl.col(f"{v.name}__count") > 0 for v in seen)).to_series().to_numpy()
    return LevelRows(frame.drop([f"{v.name}__count" for v in seen]), known)


def _view(member: object) -> FeatureView | None:
    return member if isinstance(member, FeatureView) else member.view if isinstance(member, FeatureRef) else None


def _within(view: FeatureView, keys: tuple[str, ...]) -> bool:
    return all(view.request_key(key) in keys for key in view.keys)


def mean_age(model: Model, level: Level, requests: Requests, rows: Bool) -> float | None:
    """The mean of t - K over the test rows and the views that read history, in seconds; None where none does."""
    t = requests.t[rows]
    scoring = level.scoring(model)
    asked = t if scoring is None else as_of(scoring.freshness, t)[0]
    ages = []
    for view in model.features.views:
        freshness = level.freshness(view)
        if isinstance(freshness, Never):
            continue
        _, known = as_of(freshness, asked)
        live = known > NEVER
        ages.append(float((t[live] - known[live]).mean()) / SECOND)
    return float(np.mean(ages)) if ages else None


def kind(level: Level, model: Model) -> Kind:
    """Batch or real-time, by the one-hour rule."""
    return cast("Kind", level.kind(model))


def filled(scores: F64, answered: Bool, default: float) -> F64:
    """Scores with the default where the level has no answer, so that every level is judged on every request."""
    return np.where(answered, scores, default)
